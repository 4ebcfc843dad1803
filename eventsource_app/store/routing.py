"""A router for projects that keep the log in a database of its own: ``EVENTSOURCE["DATABASE"]`` names the alias."""

from typing import Any, ClassVar

from eventsource_app.store.session import log_database


class LogRouter:
    """Sends the engine's tables to the log's alias, and no others there.

    A read model must commit with its checkpoint, so the apps that have read models belong there too: subclass this with
    their labels in ``app_labels``.
    """

    app_labels: ClassVar[frozenset[str]] = frozenset({"eventsource_app"})

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return log_database() if model._meta.app_label in self.app_labels else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label in self.app_labels:
            return db == log_database()
        return False if db == log_database() != "default" else None
