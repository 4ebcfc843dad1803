"""``manage.py pool_plan``: how many connections all instances may open, beside what the server allows."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import DatabaseError, InterfaceError

from eventsource_app.checks.readiness import why_away
from eventsource_app.checks.readiness.connection_rules import connections_fit
from eventsource_app.checks.readiness.server import server_facts
from eventsource_app.management.operating import DatabaseCommand
from eventsource_app.store.session import leave_pool, option

TITLES: Final = ("Workload", "Instances", "pool_size", "max_overflow", "Total")
# The tutorial's table of usual values; its formula: total = (pool_size + max_overflow) * instances.
USUAL: Final = (("Development", 1, 5, 5), ("Light", 2, 5, 10), ("Medium", 4, 10, 15), ("Heavy", 8, 5, 7))


class Command(DatabaseCommand):
    help = "Prints the connection arithmetic for this deployment, against the server's max_connections."

    def handle(self, *args: Any, **options: Any) -> None:
        plan: Mapping[str, int] = option("POOL", {})
        self.stdout.write(as_table(plan))
        self.stdout.write("")
        self.stdout.write(per_process(plan) + fits(options["database"], plan))


def as_table(plan: Mapping[str, int]) -> str:
    rows = [(name, count, size, more, (size + more) * count) for name, count, size, more in USUAL]
    if plan:
        own = (plan["instance_count"], plan["pool_size"], plan["max_overflow"], plan["total"])
        rows.append(("This deployment", *own))
    lines = [
        f"{name:<15}" + "".join(f"  {value:>12}" for value in values) for name, *values in (TITLES, *rows)
    ]
    return "\n".join(lines)


def per_process(plan: Mapping[str, int]) -> str:
    if not plan:
        return ""
    return (
        f"Each instance has {plan['total_per_instance']} for {plan['processes']} processes; "
        f"the pool of a process opens {plan['min_size']} to {plan['max_size']}.\n"
    )


def fits(using: str, plan: Mapping[str, int]) -> str:
    """Return one sentence: the sum beside max_connections, and what to do when it does not fit."""
    try:
        leave_pool(using)
        return connections_fit(server_facts(using), plan).sentence
    except (DatabaseError, InterfaceError) as error:
        return why_away(error)
