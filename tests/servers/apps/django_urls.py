"""The one view of the Django site under test."""

from __future__ import annotations

import owed
from django.http import HttpRequest, HttpResponse
from django.urls import path


def answer(request: HttpRequest) -> HttpResponse:
    owed.log(request.GET["request"])
    return HttpResponse(f"logged {request.GET['request']}")


urlpatterns = [path("", answer)]
