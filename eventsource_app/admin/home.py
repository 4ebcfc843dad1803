"""What the admin's start page leads with: how all is, and what needs somebody."""

from dataclasses import dataclass
from typing import Any, Final

from eventsource_app.admin.operating import OPEN_STATES
from eventsource_app.models import DeadLetter
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.health import HealthReport, HealthStatus, SubscriptionHealth, health_report

COUNTED_LETTERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Home:
    """``report`` and ``letter_count`` are ``None`` for those who may not see them."""

    report: HealthReport | None
    letter_count: int | None

    @property
    def troubled(self) -> list[SubscriptionHealth]:
        """The subscriptions that are not as they should be, the worst first."""
        all_of_them = self.report.subscriptions if self.report else ()
        found = [each for each in all_of_them if each.status is not HealthStatus.HEALTHY]
        return sorted(found, key=lambda each: -each.status.rank)

    @property
    def counted_all(self) -> bool:
        return self.letter_count is None or self.letter_count < COUNTED_LETTERS

    @property
    def is_calm(self) -> bool:
        return not self.troubled and not self.letter_count and (self.report is None or self.report.running)


def home(user: Any) -> Home | None:
    """Return what this user may see of it; ``None`` for nothing."""
    sees_health = user.has_perm("eventsource_app.view_checkpoint")
    sees_letters = user.has_perm("eventsource_app.view_deadletter")
    if not sees_health and not sees_letters:
        return None
    return Home(
        health_report(log_database()) if sees_health else None, _open_letters() if sees_letters else None
    )


def _open_letters() -> int:
    return DeadLetter.objects.filter(state__in=OPEN_STATES)[:COUNTED_LETTERS].count()
