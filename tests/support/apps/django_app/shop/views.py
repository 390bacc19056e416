"""Which version answered, in which process, to which request; the database is asked each time."""

from __future__ import annotations

import json
import os
import time

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from version import VERSION


def index(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:  # bound to its thread: Django raises when another one uses it
        cursor.execute("SELECT %s", [VERSION])
        (version,) = cursor.fetchone()
    text = f"{version} {os.getpid()} {request.GET.get('token', '')}\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(min(10_000, int(request.GET.get("ms", "100"))) / 1000)
    return index(request)


def add_to_basket(request: HttpRequest) -> JsonResponse:
    items = request.session.get("items", 0) + len(json.loads(request.body)["items"])
    request.session["items"] = items
    return JsonResponse({"items": items})
