"""Production: DJANGO_SETTINGS_MODULE=settings.production. What is missing or weak stops the start."""

from django.core.exceptions import ImproperlyConfigured

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import ENV

MINIMUM_SECRET_KEY_LENGTH = 50
MINIMUM_DIFFERENT_CHARACTERS = 5  # as `manage.py check --deploy` has it


def strong(secret_key: str | None) -> str:
    """Return *secret_key*, or raise ImproperlyConfigured when it is missing or weak."""
    if secret_key is None:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: set it, or SECRET_KEY_FILE, to 50 random characters."
        )
    if len(secret_key) < MINIMUM_SECRET_KEY_LENGTH or len(set(secret_key)) < MINIMUM_DIFFERENT_CHARACTERS:
        raise ImproperlyConfigured(
            f"SECRET_KEY is weak ({len(secret_key)} characters, {len(set(secret_key))} different ones): "
            f"use at least {MINIMUM_SECRET_KEY_LENGTH} random characters."
        )
    if secret_key.startswith("django-insecure-"):
        raise ImproperlyConfigured(
            "SECRET_KEY begins with 'django-insecure-': make a new one for production."
        )
    return secret_key


if ENV.debug:
    raise ImproperlyConfigured("DEBUG is true under settings.production: unset it, or use settings.base.")
if ENV.database_url is None:
    raise ImproperlyConfigured("DATABASE_URL is not set: production does not start a PostgreSQL of its own.")
if not ENV.allowed_hosts:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS is not set: name the hosts this site answers to, with commas between."
    )

DEBUG = False
SECRET_KEY = strong(ENV.secret_key)
ALLOWED_HOSTS = list(ENV.allowed_hosts)

# The proxy in front ends TLS and says so in this header, which it must overwrite.
SECURE_PROXY_SSL_HEADER = ENV.secure_proxy_ssl_header
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^health", r"^metrics"]  # probes speak plain HTTP inside the cluster
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SECURE = True
X_FRAME_OPTIONS = "DENY"

WHITENOISE_USE_FINDERS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
