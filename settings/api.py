"""EVENTSOURCE["API"]: who may call this deployment's API, and how often."""

from typing import Any

from settings.env import Environment


def api(env: Environment) -> dict[str, Any]:
    """Return what the environment says, as fields of eventsource_app.http.config.ApiConfig."""
    return {
        "authentication_required": env.api_auth,
        "throttle": env.api_throttle,
        "failure_throttle": env.api_failure_throttle,
        "trusted_proxy_count": env.trusted_proxy_count,
        "wait_seconds": env.api_wait_seconds,
        # Who waits holds a thread: half of them stay free for everybody else.
        "waiter_count": env.web_threads // 2,
        "docs": env.api_docs,
        "metrics": env.metrics,
    }
