"""Development: DEBUG on, the embedded PostgreSQL unless DATABASE_URL names a server.

Production is chosen by one setting: DJANGO_SETTINGS_MODULE=settings.production.
"""

import logging
from pathlib import Path

from settings.database import database
from settings.env import environment
from settings.local_postgres import project_server
from settings.logging import logging_config
from settings.subscriptions import eventsource

ENV = environment()
BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True if ENV.debug is None else ENV.debug
# Good enough for one developer's machine, and refused by settings.production.
SECRET_KEY = ENV.secret_key or "insecure-development-key"
ALLOWED_HOSTS = list(ENV.allowed_hosts) or ["localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = list(ENV.csrf_trusted_origins)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "health_check",
    "ninja",
    "eventsource_app.apps.EventsourceAppConfig",
    "orders",
    "projections",
]

MIDDLEWARE = [
    "eventsource_app.http.content_security.ContentSecurityMiddleware",
    "eventsource_app.observability.requests.RequestMetricsMiddleware",
    "eventsource_app.http.correlation.CorrelationMiddleware",
    "eventsource_app.http.middleware.ProblemMiddleware",
    "eventsource_app.probes.middleware.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "eventsource_app.http.shortcut.ApiShortcutMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "eventsource_app.admin.nul.NulMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "settings.urls"
WSGI_APPLICATION = "settings.wsgi.application"

# Only the address is computed here. Whoever uses the embedded server (manage.py, settings.wsgi) starts it.
DATABASES = {"default": database(ENV.database_url or project_server(ENV.data_dir).url(), ENV)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

EVENTSOURCE = eventsource(ENV)
LOGGING = logging_config(ENV.log_level)
logging.captureWarnings(True)  # Python's warnings are lines like all others

# Development too, so that what production's browsers would refuse is seen early.
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],  # the API page's icons
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True  # the admin's files without collectstatic; production collects them

# An event has a limit of its own (MAX_EVENT_BYTES); no request needs much more.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1_048_576
