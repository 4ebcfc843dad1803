"""The error callbacks that the settings name: workers are started by a command, so nobody can hand them any."""

from django.utils.module_loading import import_string

from eventsource_app.store.session import option
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.reporting import ErrorCallback
from eventsource_app.subscriptions.webhook import Webhook, WebhookConfig


def load_callbacks() -> list[ErrorCallback]:
    """Return the callbacks of ``EVENTSOURCE["ERROR_CALLBACKS"]`` (dotted paths) and, where ``WEBHOOK`` is set, its own.

    Raises ``ConfigurationError`` for what cannot be imported or called.
    """
    paths = option("ERROR_CALLBACKS", [])
    if isinstance(paths, str):
        raise ConfigurationError(
            f"EVENTSOURCE['ERROR_CALLBACKS']={paths!r} cannot be: use a list of dotted paths."
        )
    webhook = option("WEBHOOK", None)
    hooks: list[ErrorCallback] = [Webhook(WebhookConfig.from_settings(webhook))] if webhook else []
    return [_load(path) for path in paths] + hooks


def _load(path: str) -> ErrorCallback:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"EVENTSOURCE['ERROR_CALLBACKS'] names {path!r}, which cannot be imported: {error}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"EVENTSOURCE['ERROR_CALLBACKS'] names {path!r}, which cannot be called.")
    callback: ErrorCallback = found
    return callback
