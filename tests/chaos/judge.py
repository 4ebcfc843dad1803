"""The judge: recomputes every read model from the log with plain SQL and Python, and nothing of the engine."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

from tests.chaos.tables import Database

BOTH = frozenset({"ChaosAdded", "ChaosTaken"})
# What each subscription asks for, written down a second time on purpose.
ASKED = {
    "chaos-each": BOTH,
    "chaos-parts": BOTH,
    "chaos-taken": frozenset({"ChaosTaken"}),
    "chaos-batches": BOTH,
}
REPARTITIONED = "chaos-parts"
LOG = """
SELECT position, event_id::text, event_type, aggregate_id::text, aggregate_version, (data->>'amount')::bigint
  FROM eventsource_app_event WHERE aggregate_type = 'Chaos' ORDER BY position
"""
LINES = """
SELECT position, aggregate_id::text, version, amount FROM chaos_line WHERE subscription = %s ORDER BY number
"""
FOLDS = """
SELECT aggregate_id::text, version, event_count, amount, digest FROM chaos_fold WHERE subscription = %s
"""
CHECKPOINTS = """
SELECT partition, partition_count, position, events_processed, state, owner FROM eventsource_app_checkpoint
 WHERE subscription = %s ORDER BY partition
"""
PROCESSED_BEFORE = """
SELECT coalesce(max(processed_before), 0) FROM chaos_rebuild WHERE subscription = %s
"""
LETTERS = """
SELECT l.subscription, l.position, l.state, l.category, l.error_type, l.error_message, l.replayed_through,
       EXISTS (SELECT FROM chaos_trap t JOIN eventsource_app_event e ON e.position = l.position
                WHERE t.subscription = l.subscription
                  AND (t.aggregate_id IS NULL OR (t.aggregate_id, t.version) = (e.aggregate_id, e.aggregate_version)))
  FROM eventsource_app_deadletter l WHERE l.subscription = ANY(%s) ORDER BY l.subscription, l.position
"""
# What may park an event without a trap: a process that died of a signal of ours, twice; a machine too slow for the timeout.
INNOCENT = (
    "ProcessKillerError",
    "QueryCanceled",
    "OperationalError: canceling statement due to statement timeout",
)
SHOWN = 5


@dataclass
class Verdict:
    """What the judge has found: counts to print, and differences (none: the engine kept its promises)."""

    counts: dict[str, object] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def differ(self, sentence: str, examples: Iterable[object] = ()) -> None:
        shown = [str(example) for example in examples][:SHOWN]
        self.differences.append(sentence + (f" (such as {'; '.join(shown)})" if shown else ""))


@dataclass(frozen=True, slots=True)
class Event:
    position: int
    event_id: str
    event_type: str
    aggregate_id: str
    version: int
    amount: int


def judge(
    database: Database, subscriptions: Iterable[str] = tuple(ASKED), notes: Iterable[str] = ()
) -> Verdict:
    """Compare everything; ``notes`` are the writers' lines (``+id`` acknowledged, ``-id`` rolled back)."""
    verdict = Verdict()
    log = [Event(*row) for row in database.execute(LOG)]
    verdict.counts["events in the log"] = len(log)
    _judge_log(verdict, log, notes)
    for name in subscriptions:
        asked = [event for event in log if event.event_type in ASKED[name]]
        _judge_lines(verdict, name, asked, list(database.execute(LINES, (name,))))
        _judge_folds(verdict, name, asked, list(database.execute(FOLDS, (name,))))
        before = database.execute(PROCESSED_BEFORE, (name,)).fetchone()
        assert before is not None
        rows = list(database.execute(CHECKPOINTS, (name,)))
        _judge_checkpoints(verdict, name, asked, log, rows, before[0])
    _judge_letters(verdict, list(database.execute(LETTERS, (list(subscriptions),))))
    return verdict


def _judge_log(verdict: Verdict, log: list[Event], notes: Iterable[str]) -> None:
    """Streams count 1, 2, 3 … in the order of positions; what was acknowledged is there, what was rolled back is not."""
    versions: dict[str, int] = defaultdict(int)
    for event in log:
        if event.version != versions[event.aggregate_id] + 1:
            verdict.differ(
                f"the log's stream {event.aggregate_id} has {event.version} after {versions[event.aggregate_id]}"
            )
        versions[event.aggregate_id] = event.version
    stored = {event.event_id for event in log}
    told = {"+": set[str](), "-": set[str]()}
    for note in notes:
        if len(note) == 37:  # the last line of a killed writer may be half of one
            told[note[0]].add(note[1:])
    verdict.counts["appends acknowledged"], verdict.counts["appends rolled back"] = (
        len(told["+"]),
        len(told["-"]),
    )
    if missing := told["+"] - stored:
        verdict.differ(f"{len(missing)} acknowledged events are not in the log", missing)
    if surplus := told["-"] & stored:
        verdict.differ(f"{len(surplus)} events that were rolled back are in the log", surplus)


def _judge_lines(verdict: Verdict, name: str, asked: list[Event], lines: list[tuple[Any, ...]]) -> None:
    expected = {(e.position, e.aggregate_id, e.version, e.amount) for e in asked}
    seen = Counter(lines)
    verdict.counts[f"{name}: lines"] = f"{len(lines)} of {len(asked)}"
    if lost := sorted(expected - seen.keys()):
        verdict.differ(f"{name}: {len(lost)} events lost", lost)
    if doubled := sorted(line for line, count in seen.items() if count > 1):
        verdict.differ(f"{name}: {len(doubled)} events doubled", doubled)
    if strange := sorted(seen.keys() - expected):
        verdict.differ(f"{name}: {len(strange)} lines that no event explains", strange)
    order: dict[str, list[int]] = defaultdict(list)
    for _, aggregate_id, version, _ in lines:
        order[aggregate_id].append(version)
    if disordered := [found for found in order.items() if found[1] != sorted(found[1])]:
        verdict.differ(f"{name}: {len(disordered)} aggregates out of order", disordered)


def _judge_folds(verdict: Verdict, name: str, asked: list[Event], rows: list[tuple[Any, ...]]) -> None:
    expected: dict[str, tuple[int, int, int, str]] = {}
    for event in asked:
        _, count, amount, digest = expected.get(event.aggregate_id, (0, 0, 0, ""))
        digest = md5(f"{digest}{event.version}:{event.amount};".encode(), usedforsecurity=False).hexdigest()
        expected[event.aggregate_id] = (event.version, count + 1, amount + event.amount, digest)
    shown = {row[0]: tuple(row[1:]) for row in rows}
    wrong = [
        f"{key}: {expected.get(key)} is shown as {shown.get(key)}"
        for key in sorted(expected.keys() | shown.keys())
        if expected.get(key) != shown.get(key)
    ]
    if wrong:
        verdict.differ(f"{name}: {len(wrong)} of {len(expected)} folded aggregates differ", wrong)


def _judge_checkpoints(
    verdict: Verdict,
    name: str,
    asked: list[Event],
    log: list[Event],
    rows: list[tuple[Any, ...]],
    processed_before: int,
) -> None:
    """``processed_before`` events were counted before the read model was last emptied."""
    end = log[-1].position if log else 0
    count = len(rows)
    if [row[:2] for row in rows] != [(part, count) for part in range(count)] or count not in (
        (2, 4, 8) if name == REPARTITIONED else (1,)
    ):
        verdict.differ(f"{name}: the partitions are {[row[:2] for row in rows]}")
    if behind := [row[:3] for row in rows if row[2] < end]:
        verdict.differ(f"{name}: checkpoints behind the log's end {end}", behind)
    if idle := [row for row in rows if row[4] != "running"]:
        verdict.differ(f"{name}: partitions not running", idle)
    if (processed := sum(row[3] for row in rows) - processed_before) != len(asked):
        verdict.differ(f"{name}: the counters say {processed} events processed, the log has {len(asked)}")


def _judge_letters(verdict: Verdict, letters: list[tuple[Any, ...]]) -> None:
    """Every failure is accounted for: its letter is closed, nothing waits behind it, and somebody is to blame."""
    if unclosed := [row[:3] for row in letters if row[2] != "resolved" or row[6] is not None]:
        verdict.differ(f"{len(unclosed)} dead letters are not resolved", unclosed)
    unexplained = [row[:6] for row in letters if not row[7] and not _is_innocent(f"{row[4]}: {row[5]}")]
    if unexplained:
        verdict.differ(f"{len(unexplained)} dead letters without a cause", unexplained)
    kinds = Counter(f"{row[4].rpartition('.')[2]}{'' if row[7] else ' (no trap)'}" for row in letters)
    verdict.counts["dead letters"] = (
        f"{len(letters)}: {', '.join(f'{n} {k}' for k, n in sorted(kinds.items())) or 'none'}"
    )


def _is_innocent(error: str) -> bool:
    return any(word in error for word in INNOCENT)
