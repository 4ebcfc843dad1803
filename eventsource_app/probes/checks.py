"""The probes as checks of django-health-check; each keeps the document it came to in ``report``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError
from health_check import HealthCheck
from health_check.exceptions import ServiceUnavailable

from eventsource_app.probes.bounded import DatabaseHangsError, ask
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.health import (
    HealthReport,
    LivenessReport,
    ReadinessReport,
    health_report,
    readiness_report,
)


def _never() -> bool:
    return False


# What the server that runs us says; settings/gunicorn.py puts its own answer here once it has started.
is_stopping: Callable[[], bool] = _never
AnyReport = HealthReport | ReadinessReport | LivenessReport


@dataclass
class ReportCheck(HealthCheck):  # type: ignore[misc]  # the library has no types
    """A check whose answer is a document; it fails when the document's status code does."""

    using: str = field(default_factory=log_database)
    report: AnyReport | None = field(default=None, init=False, repr=False)

    timeout = timedelta(seconds=5)  # far beyond the patience of ``ask``

    async def run(self) -> None:
        # On the request's own thread: a connection opened on an executor's thread would never be closed.
        await sync_to_async(self._run, thread_sensitive=True)()

    def answer(self) -> AnyReport:
        """Return the document; raises Django's ``DatabaseError``, ``DatabaseHangsError``."""
        raise NotImplementedError

    def away(self, reason: str) -> AnyReport:
        """Return the document to show when the question could not be answered."""
        raise NotImplementedError

    def _run(self) -> None:
        self.report = self._answer_or_away()
        if self.report.http_status != 200:
            raise ServiceUnavailable(self.report.reason or "not well") from None

    def _answer_or_away(self) -> AnyReport:
        try:
            return self.answer()
        except DatabaseHangsError as error:
            return self.away(str(error))
        except (DatabaseError, InterfaceError) as error:
            # The server's words name hosts, users and rows: whoever may read a probe need not know them.
            return self.away(f"the database does not answer ({type(error.__cause__ or error).__name__})")


@dataclass
class SubscriptionsCheck(ReportCheck):
    """Do the subscriptions follow the log?"""

    def answer(self) -> HealthReport:
        return ask(lambda: health_report(self.using), self.using)

    def away(self, reason: str) -> HealthReport:
        return HealthReport.unavailable(reason)


@dataclass
class ReadinessCheck(ReportCheck):
    """Can this web process serve requests?"""

    def answer(self) -> ReadinessReport:
        if is_stopping():
            return ReadinessReport(ready=False, reason="shutting down")
        return ask(lambda: readiness_report(self.using), self.using)

    def away(self, reason: str) -> ReadinessReport:
        return ReadinessReport(ready=False, reason=reason, details={"database": "unavailable"})


@dataclass
class LivenessCheck(ReportCheck):
    """Does this process answer? It asks nobody: a database that is away must not restart every pod."""

    def answer(self) -> LivenessReport:
        return LivenessReport(alive=True)

    def away(self, reason: str) -> LivenessReport:
        return LivenessReport(alive=False, reason=reason)


def shown(check: ReportCheck, error: Any) -> AnyReport:
    """Return the check's document, also when it broke before it had one."""
    return check.report or check.away(str(error))
