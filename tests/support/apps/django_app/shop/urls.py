"""The shop's pages."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [path("", views.index), path("slow", views.slow), path("basket", views.add_to_basket)]
