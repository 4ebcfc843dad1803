"""gunicorn's configuration: `gunicorn --config python:settings.gunicorn`."""

import socket
import struct
from importlib import import_module
from typing import Any

from eventsource_app.observability.pool import forget_connections, log_pool
from settings import env, metric_files
from settings.database import plan_from
from settings.env import environment
from settings.logging import logging_config
from settings.unreadable_requests import answer_with_problems

# A caller is better served by an early 503 than by half a minute of silence; commands and workers may wait longer.
env.default("DB_POOL_TIMEOUT", "5")
_env = environment()
# A secret that is missing or weak is said here, once and before anybody is listened to, and not by each worker's traceback.
import_module(env.default("DJANGO_SETTINGS_MODULE", "settings.base"))
answer_with_problems()

# gunicorn waits so long for a request's first byte by itself, and without any limit for the next ones.
READ_SECONDS = 5

# Each figure is argued, and where it can be, measured, in docs/http.md.
wsgi_app = "settings.wsgi:application"
bind = _env.bind
worker_class = "gthread"
workers = _env.web_concurrency
threads = _env.web_threads
timeout = 60
graceful_timeout = 30
keepalive = 75
# A leak somewhere costs a restart now and then, not the pod; the jitter keeps them from coinciding.
max_requests = 20_000
max_requests_jitter = 2_000
# By default gunicorn opens a control socket below $HOME, which a read-only container does not have.
control_socket_disable = True
# Whether TLS ended in front is Django's to say, by the one header of SECURE_PROXY_SSL_HEADER.
secure_scheme_headers: dict[str, str] = {}
# By default gunicorn believes a SCRIPT_NAME header of whoever calls from this machine, and is at a loss with most of them.
forwarder_headers = ""
logconfig_dict = logging_config(_env.log_level)
accesslog = "-"

# Made when the first worker is, or when --preload loads the application; settings.wsgi asks for it.
_files = metric_files.files = metric_files.MetricFiles()


def when_ready(server: Any) -> None:
    """Say once per instance how its connections are shared out."""
    log_pool(plan_from(_env).to_dict())


def pre_fork(server: Any, worker: Any) -> None:
    """With --preload the application may have asked the database: a child must not inherit that connection."""
    forget_connections()
    worker.metric_slot = metric_files.free_slot(other.metric_slot for other in server.WORKERS.values())
    _files.forget_gauges(worker.metric_slot)


def post_fork(server: Any, worker: Any) -> None:
    _files.slot = worker.metric_slot
    for listener in worker.sockets:
        # What is accepted inherits it. A timeout of Python's own would limit the whole of a slow answer too.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", READ_SECONDS, 0))


def post_worker_init(worker: Any) -> None:
    # Only now the application is there.
    from eventsource_app.observability.pool_metrics import publish_pools_regularly
    from eventsource_app.probes import checks

    publish_pools_regularly()
    checks.is_stopping = lambda: not worker.alive


def child_exit(server: Any, worker: Any) -> None:
    _files.forget_gauges(worker.metric_slot)


def on_exit(server: Any) -> None:
    _files.remove()
