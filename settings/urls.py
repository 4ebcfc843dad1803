"""Where commands (orders) and questions (projections) meet: one API, the probes, the admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from eventsource_app.http.access import restricted
from eventsource_app.http.api_errors import install_error_handlers
from eventsource_app.http.json_body import StrictJsonParser
from eventsource_app.http.openapi import DescribedAPI
from orders import api as orders_api
from projections import api as projections_api

api = DescribedAPI(
    title="Orders",
    version="1.0.0",
    description="Commands are stored as events; the read models follow a moment later.",
    docs_url="/api/docs",
    openapi_url="/api/openapi.json",
    docs_decorator=restricted("docs"),
    parser=StrictJsonParser(),
)
install_error_handlers(api, {**orders_api.ERRORS, **projections_api.ERRORS})
api.add_router("/orders", orders_api.router)
api.add_router("/customers", projections_api.customers_router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("", include("eventsource_app.probes.urls")),
    path("", api.urls),
]

handler400 = "eventsource_app.http.middleware.bad_request"
handler403 = "eventsource_app.http.middleware.permission_denied"
handler404 = "eventsource_app.http.middleware.page_not_found"
handler500 = "eventsource_app.http.middleware.server_error"
