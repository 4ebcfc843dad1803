"""What the rules look at: the settings alone, or the settings with what the database says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventsource_app.checks.readiness.server import LogFacts, ServerFacts


@dataclass(frozen=True, slots=True)
class Deployment:
    """The settings of this process; ``alias`` is the database that has the log."""

    settings: Any
    alias: str = "default"

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self.settings, name, default)

    @property
    def options(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.get("EVENTSOURCE", {})
        return options

    @property
    def database(self) -> Mapping[str, Any]:
        """The alias's entry of DATABASES."""
        config: Mapping[str, Any] = self.get("DATABASES", {}).get(self.alias, {})
        return config

    @property
    def database_options(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.database.get("OPTIONS", {})
        return options


@dataclass(frozen=True, slots=True)
class Database:
    """A deployment whose database has answered."""

    deployment: Deployment
    server: ServerFacts
    log: LogFacts
