import os

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from shop import warehouse


def index(request):
    return JsonResponse(
        {
            "secure": request.is_secure(),
            "host": request.get_host(),
            "path": request.get_full_path(),
            "mode": os.environ["SHOP_MODE"],
        }
    )


def stock(request):
    return HttpResponse(f"{warehouse.count()} in stock")


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"visit {request.session['visits']}")


@csrf_exempt
def order(request):
    return JsonResponse({"body": len(request.body), "name": request.POST.get("name")}, status=201)


def report(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(3)), content_type="text/plain")


urlpatterns = [
    path("", index),
    path("stock", stock),
    path("visits", visits),
    path("order", order),
    path("report", report),
]
