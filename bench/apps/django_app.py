"""Hello-world by Django, with the middleware of a new project."""

# mypy: disable-error-code="import-untyped, import-not-found, unused-ignore"

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


def hello(request: Any) -> Any:
    """A view as people write them."""
    return HttpResponse("Hello, world!\n", content_type="text/plain; charset=utf-8")


class Closing(HttpResponse):  # type: ignore[misc]
    """Wants to know when it is over (PEP 3333, close()), as Django itself does for request_finished."""

    closes = 0

    def close(self) -> None:
        """Called by the server."""
        Closing.closes += 1
        super().close()


def closing(request: Any) -> Any:
    """One that counts."""
    return Closing("Hello, world!\n", content_type="text/plain; charset=utf-8")


def closed(request: Any) -> Any:
    """How many of them were told."""
    return HttpResponse(str(Closing.closes))


urlpatterns = [path("", hello), path("closing", closing), path("closed", closed)]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SECRET_KEY="of a benchmark, which keeps none",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        USE_TZ=True,
    )
    django.setup(set_prefix=False)

app = get_wsgi_application()
