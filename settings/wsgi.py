"""The WSGI application, as gunicorn and `manage.py runserver` load it."""

import atexit
from contextlib import ExitStack

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from eventsource_app.observability.tracing import set_up as set_up_tracing
from settings import env
from settings.local_postgres import attached, project_server
from settings.metric_files import share_metrics

env.default("DJANGO_SETTINGS_MODULE", "settings.base")
share_metrics()
set_up_tracing(**settings.EVENTSOURCE["TRACING"])

if env.environment().database_url is None and settings.SETTINGS_MODULE == "settings.base":
    _server = ExitStack()
    _server.enter_context(attached(project_server(env.environment().data_dir)))
    atexit.register(_server.close)

application = get_wsgi_application()
