"""``manage.py api_token create|list|revoke``: credentials of the API's callers."""

import json
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from eventsource_app.http.callers import known_scopes
from eventsource_app.http.tokens import (
    DEFAULT_LIFETIME,
    NewToken,
    TokenError,
    create_token,
    find_tokens,
    revoke_tokens,
)
from eventsource_app.management.operating import system_user
from eventsource_app.models import ApiToken

DEFAULT_DAYS = DEFAULT_LIFETIME / timedelta(days=1)
MAX_DAYS = 36_500  # a hundred years


class Command(BaseCommand):
    help = "Makes, lists and revokes the tokens with which callers use the API."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
        create = verbs.add_parser("create", help="make a token; it is printed once, on standard output")
        create.add_argument("name", metavar="NAME", help="who will use it; tokens of one name are one caller")
        create.add_argument(
            "--scope", action="append", default=[], metavar="SCOPE", help="may be repeated (default: all)"
        )
        create.add_argument(
            "--days",
            type=_days,
            default=DEFAULT_DAYS,
            metavar="N",
            help=f"valid for N days (default: {DEFAULT_DAYS:g})",
        )
        create.add_argument("--no-expiry", action="store_true", help="valid until it is revoked")
        create.add_argument("--json", action="store_true")
        listing = verbs.add_parser("list", help="show the tokens that are valid; never the tokens themselves")
        listing.add_argument("--all", action="store_true", help="those that ended too")
        listing.add_argument("--json", action="store_true")
        revoke = verbs.add_parser("revoke", help="end a token, by its prefix, or all of a name")
        revoke.add_argument("token", metavar="NAME|PREFIX", help="as `list` shows them")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        try:
            {"create": self._create, "list": self._list, "revoke": self._revoke}[options["verb"]](options)
        except TokenError as error:
            raise CommandError(str(error), returncode=2) from error

    def _create(self, options: dict[str, Any]) -> None:
        scopes, known = options["scope"] or known_scopes(), known_scopes()
        if not known:
            raise CommandError(
                "No operation of this project's API asks for a scope, so a token would open nothing; "
                'give one auth=requires("…") of eventsource_app.http.callers first.'
            )
        if strange := sorted(set(scopes) - set(known)):
            raise CommandError(
                f"There is no scope {strange[0]!r}; there are {', '.join(known)}.", returncode=2
            )
        expires_at = None if options["no_expiry"] else timezone.now() + timedelta(days=options["days"])
        token = create_token(options["name"], scopes, expires_at, created_by=system_user())
        if options["json"]:
            self.stdout.write(json.dumps({"token": token.text, **_document(token.row)}))
            return
        self.stdout.write(token.text)
        self.stderr.write(_note(token))

    def _list(self, options: dict[str, Any]) -> None:
        rows = ApiToken.objects.order_by("name", "created_at")
        documents = [_document(row) for row in rows if options["all"] or _state(row) == "valid"]
        if options["json"]:
            self.stdout.write(json.dumps(documents))
            return
        for document in documents:
            self.stdout.write(
                f"{document['prefix']}  {document['state']:<7}  {document['name']}  {' '.join(document['scopes'])}"
                f"  expires {document['expires_at'] or 'never'}  last used {document['last_used_at'] or 'never'}"
            )
        if not documents:
            self.stderr.write("There is no token; `manage.py api_token create NAME` makes one.")

    def _revoke(self, options: dict[str, Any]) -> None:
        revoked = revoke_tokens(find_tokens(options["token"]), revoked_by=system_user())
        if not revoked:
            raise CommandError(
                f"There is no token {options['token']!r} to revoke: `manage.py api_token list` shows them."
            )
        for row in revoked:
            self.stdout.write(f"Revoked {row.name} ({row.prefix}).")


def _note(token: NewToken) -> str:
    until = (
        f"until {token.row.expires_at:%Y-%m-%d %H:%M} UTC" if token.row.expires_at else "until it is revoked"
    )
    return f"Valid {until} for {', '.join(token.row.scopes)}. Keep it: it is not shown again."


def _state(row: ApiToken) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= timezone.now() else "valid"


def _document(row: ApiToken) -> dict[str, Any]:
    row.refresh_from_db()
    return {
        "prefix": row.prefix,
        "name": row.name,
        "scopes": row.scopes,
        "state": _state(row),
        "created_at": _time(row.created_at),
        "expires_at": _time(row.expires_at),
        "revoked_at": _time(row.revoked_at),
        "last_used_at": _time(row.last_used_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_DAYS:
        raise ArgumentTypeError(f"{text!r} is not a number of days above 0 and up to {MAX_DAYS}")
    return value
