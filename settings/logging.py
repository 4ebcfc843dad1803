"""One logging configuration for Django, commands and gunicorn: JSON lines on standard error."""

from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    """Return the dictConfig. Standard output stays free for what a command answers."""
    quiet: dict[str, Any] = {"handlers": [], "propagate": True, "level": "NOTSET"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "correlation": {"()": "eventsource_app.observability.correlation.CorrelationFilter"},
            "trace": {"()": "eventsource_app.observability.tracing.TraceFilter"},
        },
        "formatters": {
            "json": {"()": "eventsource_app.observability.json_logging.JsonLineFormatter"},
            "access": {"()": "eventsource_app.observability.json_logging.AccessLineFormatter"},
        },
        "handlers": {"standard_error": _handler("json"), "access": _handler("access")},
        "root": {"handlers": ["standard_error"], "level": level},
        "loggers": {
            # Django and gunicorn bring handlers of their own for these: one line each is enough.
            "django": quiet,
            "django.server": quiet,
            "gunicorn.error": quiet,
            "gunicorn.access": {"handlers": ["access"], "propagate": False, "level": level},
            # A pool logs every reconnecting attempt; the error itself reaches the caller.
            "health_check": {**quiet, "level": "ERROR"},
            "psycopg.pool": {**quiet, "level": "ERROR"},
        },
    }


def _handler(formatter: str) -> dict[str, Any]:
    return {
        "class": "eventsource_app.observability.json_logging.WholeLineHandler",
        "formatter": formatter,
        "filters": ["correlation", "trace"],
    }
