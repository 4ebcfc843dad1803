"""Views of the probes (always JSON, 200 or 503) and of the metrics; GET and HEAD only."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from health_check.views import HealthCheckView

from eventsource_app.http.access import restricted
from eventsource_app.probes.checks import LivenessCheck, ReadinessCheck, SubscriptionsCheck, shown
from eventsource_app.probes.exposition import CONTENT_TYPE, metrics_text
from eventsource_app.store.session import log_database


class ProbeView(HealthCheckView):  # type: ignore[misc]  # the library has no types
    """One check, rendered as its own document: the library knows only 200 and 500, and shows ``*/*`` a page."""

    http_method_names = ["get", "head"]

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        (check,) = self.get_checks()
        result = await check.get_result()
        self.results = [result]
        report = shown(check, result.error)
        return HttpResponse(
            report.model_dump_json(), content_type="application/json", status=report.http_status
        )


class HealthView(ProbeView):
    checks = [SubscriptionsCheck]


class ReadyView(ProbeView):
    checks = [ReadinessCheck]


class LiveView(ProbeView):
    checks = [LivenessCheck]


@never_cache
@restricted("metrics")
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer 200 also while the database is away: then ``eventsource_database_up`` is 0."""
    return HttpResponse(metrics_text(log_database()), content_type=CONTENT_TYPE)
