"""A bare Django site: one view that stores a row with one INSERT, and nothing else. Settings, routes and view in one."""

import json

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from eventsource_app.events.identifiers import uuid7
from settings.base import DATABASES as DATABASES
from settings.base import LOGGING as LOGGING
from tests.benchmarks.bare import INSERT, row

SECRET_KEY = "guards-nothing"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
USE_TZ = True


def place(request: HttpRequest) -> HttpResponse:
    order = json.loads(request.body)
    with connection.cursor() as cursor:
        cursor.execute(INSERT, row(uuid7(), 1))
        (position,) = cursor.fetchone()
    response = JsonResponse({"customer_id": order["customer_id"], "position": position}, status=201)
    response["Content-Length"] = str(len(response.content))
    return response


urlpatterns = [path("orders", place)]
