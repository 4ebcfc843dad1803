"""The Django app: finds the events, aggregates and subscriptions that other apps declare."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventsourceAppConfig(AppConfig):
    name = "eventsource_app"
    verbose_name = "Event sourcing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from eventsource_app import checks  # noqa: F401 - registers the system checks

        autodiscover_modules("events", "aggregate", "aggregates", "subscriptions")
