"""The checklist's part about what is stored: backups, durability, the schema, and the log's own guards."""

from datetime import timedelta
from typing import Final

from eventsource_app.checks.readiness.deployment import Database
from eventsource_app.checks.readiness.item import INFRASTRUCTURE, Answer, Rule, fail, ok, warn

ARCHIVE_IS_OLD: Final = timedelta(hours=24)


def wal_archiving(seen: Database) -> Answer:
    server = seen.server
    if server.archive_mode == "off":
        return fail(
            f"archive_mode is off (wal_level {server.wal_level}), so only whole backups can be restored: "
            "turn it on with an archive_command, or have your provider's PITR do it."
        )
    if server.archiving_fails:
        return fail(
            f"The last attempt to archive failed ({server.archive_failed_count} failures so far), and WAL piles up: "
            "see the server's log."
        )
    return ok(
        f"archive_mode is {server.archive_mode}; {server.archived_count} segments archived, "
        f"{server.archive_failed_count} failures."
    )


def archive_age(seen: Database) -> Answer:
    """The server knows how old its archive is; when the last base backup was, it does not."""
    ago = seen.server.archived_ago
    if seen.server.archive_mode == "off":
        return warn(
            "Nothing is archived, so a lost server loses all since the last backup: turn archive_mode on."
        )
    if ago is None:
        return warn(
            "Nothing was ever archived: SELECT pg_switch_wal() archives a segment and shows that it works."
        )
    hours = ago.total_seconds() / 3600
    age = f"The last segment was archived {f'{hours:.0f} hours' if hours >= 2 else f'{hours * 60:.0f} minutes'} ago"
    if ago > ARCHIVE_IS_OLD:
        return warn(f"{age}: set archive_timeout, as to 5min.")
    return ok(f"{age}.")


def durability(seen: Database) -> Answer:
    server = seen.server
    switches = (("fsync", server.fsync), ("full_page_writes", server.full_page_writes))
    off = " and ".join(name for name, on in switches if not on)
    if off:
        return fail(f"{off} is off, so a crash may end the log: turn it on.")
    if server.synchronous_commit == "off":
        return fail(
            "synchronous_commit is off, so what was answered with 201 may be gone after a crash: turn it on."
        )
    return ok(
        f"fsync and full_page_writes are on, synchronous_commit is {server.synchronous_commit}; "
        f"{server.standby_count} standbys stream."
    )


def migrations(seen: Database) -> Answer:
    unapplied = seen.log.unapplied_migrations
    if unapplied:
        return fail(
            f"{len(unapplied)} migrations are not applied, the first {unapplied[0]}: run manage.py migrate."
        )
    return ok("All migrations are applied.")


def indices(seen: Database) -> Answer:
    missing, count = seen.log.missing_indices, seen.log.index_count
    if missing:
        return fail(
            f"{len(missing)} of {count} are missing or invalid ({', '.join(missing[:5])}): create them as the migrations do, "
            "or REINDEX."
        )
    return ok(f"All {count} that the models declare are there and valid.")


def append_only(seen: Database) -> Answer:
    verbs = seen.log.unguarded_verbs
    if verbs:
        return fail(
            f"No enabled trigger refuses {', '.join(verbs)}: make the triggers again as migration eventsource_app.0002 does."
        )
    return ok("Triggers refuse UPDATE, DELETE and TRUNCATE.")


def truncate(seen: Database) -> Answer:
    if seen.server.allows_truncate:
        return fail(
            "eventsource.allow_truncate is on for this session, a role or a database, so TRUNCATE would empty the log: RESET it."
        )
    return ok("eventsource.allow_truncate is not on.")


def sequence_cache(seen: Database) -> Answer:
    cache = seen.log.sequence_cache
    if cache == 1:
        return ok("The sequence of positions has CACHE 1.")
    if cache is None:
        return fail("There is no sequence of positions: run manage.py migrate.")
    return fail(
        f"The sequence of positions has CACHE {cache}, so readers would lose events: "
        "ALTER SEQUENCE eventsource_app_event_position_seq CACHE 1."
    )


DATABASE_RULES: Final = (
    Rule(
        "wal_archiving", INFRASTRUCTURE, "Is WAL archived, so that any moment can be restored?", wal_archiving
    ),
    Rule("archive_age", INFRASTRUCTURE, "How much would be lost: how old is the archive?", archive_age),
    Rule("durability", INFRASTRUCTURE, "Does what was committed survive a crash?", durability),
    Rule("migrations", INFRASTRUCTURE, "Is the schema up to date?", migrations),
    Rule("indices", INFRASTRUCTURE, "Are the indices for event queries there and valid?", indices),
    Rule("append_only", INFRASTRUCTURE, "Does the database itself refuse to change events?", append_only),
    Rule("allow_truncate", INFRASTRUCTURE, "Is the tests' way to empty the log closed?", truncate),
    Rule("sequence_cache", INFRASTRUCTURE, "Are positions drawn one by one?", sequence_cache),
)
