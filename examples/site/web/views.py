from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from web.models import Profile

SHOWN = 50


def profiles(request: HttpRequest) -> HttpResponse:
    return render(request, "web/profiles.html", {"profiles": Profile.objects.order_by("pk")[:SHOWN]})


def health(_: HttpRequest) -> JsonResponse:
    """Whether a profile can be read; a database that cannot answer raises, which is a 500."""
    if Profile.objects.order_by("pk").first() is None:
        return JsonResponse({"status": "no profile to read"}, status=503)
    return JsonResponse({"status": "ok"})
