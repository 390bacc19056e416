"""wsgiref.validate and Werkzeug's LintMiddleware between the daemon and real applications: neither has a complaint.

The first segment of a path says which of the two looks on. A complaint is an exception: it becomes a 500 and stands in
the log, so the answers and the log are what is checked.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

CHECKED = """
import warnings
from wsgiref.util import shift_path_info
from wsgiref.validate import WSGIWarning as ValidatorWarning, validator

from werkzeug.middleware.lint import HTTPWarning, LintMiddleware, WSGIWarning

from {module} import application as real

for category in (ValidatorWarning, WSGIWarning):
    warnings.simplefilter("error", category)
warnings.simplefilter("ignore", HTTPWarning)  # of what the frameworks say in HTTP, such as a relative Location


def wrong(environ, start_response):
    start_response("200", [("Content-Type", "text/plain")])
    return [b"a status without a reason"]


APPLICATIONS = {{"real": real, "wrong": wrong}}
CHECKED = {{name: {{key: check(app) for key, app in APPLICATIONS.items()}}
           for name, check in (("validate", validator), ("lint", LintMiddleware))}}


def application(environ, start_response):
    del environ["wsgi.input_terminated"]  # they know PEP 3333 alone, in which no read() goes without a size
    checked = CHECKED[shift_path_info(environ)]
    return checked[shift_path_info(environ)](environ, start_response)
"""

FLASK = """
import io
from flask import Flask, Response, redirect, request, send_file

application = Flask(__name__)

@application.route("/", methods=["GET", "OPTIONS", "PUT", "DELETE"])
def index():
    return f"hello {request.args.get('name', '')}", {"ETag": '"one"'}

@application.post("/form")
def form():
    return request.form["a"] + request.form["b"]

@application.post("/upload")
def upload():
    return str(len(request.files["file"].read()))

@application.post("/body")
def body():
    return str(len(request.get_data()))

@application.post("/unread")
def unread():
    return "not read"

@application.get("/stream")
def stream():
    return Response((b"part " for _ in range(3)), mimetype="text/plain")

@application.get("/file")
def file():
    return send_file(__file__, mimetype="text/plain", conditional=True, etag="file")

@application.get("/memory")
def memory():
    return send_file(io.BytesIO(b"from memory"), mimetype="text/plain")

@application.get("/away")
def away():
    return redirect("/")

@application.get("/empty")
def empty():
    response = Response(status=204)
    del response.headers["Content-Type"]  # the validator's rule
    return response

@application.get("/error")
def error():
    raise RuntimeError("on purpose")

@application.get("/cut")
def cut():
    def parts():
        yield b"part "
        raise RuntimeError("on purpose")
    return Response(parts(), mimetype="text/plain")
"""

DJANGO = """
import io
from django.conf import settings

settings.configure(
    SECRET_KEY="only for tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DATABASES={}, USE_TZ=True,
    FILE_UPLOAD_MAX_MEMORY_SIZE=1000, MIDDLEWARE=["django.middleware.common.CommonMiddleware",
    "django.middleware.http.ConditionalGetMiddleware"],
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}},
             "root": {"handlers": ["console"], "level": "ERROR"}},
)

from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path


def index(request):
    return HttpResponse(f"hello {request.GET.get('name', '')}", content_type="text/plain", headers={"ETag": '"one"'})

def form(request):
    return HttpResponse(request.POST["a"] + request.POST["b"])

def upload(request):
    return HttpResponse(str(len(request.FILES["file"].read())))

def body(request):
    return HttpResponse(str(len(request.body)))

def unread(request):
    return HttpResponse("not read")

def stream(request):
    return StreamingHttpResponse((b"part " for _ in range(3)), content_type="text/plain")

def file(request):
    return FileResponse(open(__file__, "rb"), content_type="text/plain")

def memory(request):
    return FileResponse(io.BytesIO(b"from memory"), content_type="text/plain")

def away(request):
    return HttpResponseRedirect("/")

def empty(request):
    response = HttpResponse(status=204)
    del response["Content-Type"]  # the validator's rule
    return response

def error(request):
    raise RuntimeError("on purpose")

def cut(request):
    def parts():
        yield b"part "
        raise RuntimeError("on purpose")
    return StreamingHttpResponse(parts(), content_type="text/plain")

urlpatterns = [path("", index), *(path(view.__name__, view) for view in
               (form, upload, body, unread, stream, file, memory, away, empty, error, cut))]
application = get_wsgi_application()
"""

APPLICATIONS = {"flask": FLASK, "django": DJANGO}
POOLS = {
    "epoll, 1 thread": ("--pool", "epoll", "--threads", "1"),
    "epoll, adaptive": ("--pool", "epoll"),
    "prefork": ("--pool", "prefork"),
    "fork": ("--pool", "fork", "--threads", "4"),
}
PURPOSE = "RuntimeError: on purpose"
COMPLAINTS = re.compile(r"\w*Warning: .*|AssertionError.*|.*without being closed.*|.*raised \w+ .* response.*")

Client = http.client.HTTPConnection


class Answer:
    """Status, fields and body of a response."""

    def __init__(self, client: Client, method: str, path: str, body: object = None, **headers: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request(method, path, body, sent)  # type: ignore[arg-type]
        self.response = client.getresponse()
        self.status = self.response.status
        self.body = self.response.read()


@pytest.fixture(params=APPLICATIONS)
def module(request: pytest.FixtureRequest, service: Service) -> Path:
    """The file of an application that is looked at."""
    pytest.importorskip(request.param)
    pytest.importorskip("werkzeug")
    service.write(CHECKED.format(module="real"))
    return service.write(APPLICATIONS[request.param], "real.py")


@pytest.fixture(params=POOLS)
def daemon(request: pytest.FixtureRequest, module: Path, service: Service) -> Daemon:
    return service.start("--workers", "1", *POOLS[request.param])


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """One connection, kept alive from one request to the next."""
    client = Client(*daemon.address, timeout=PATIENCE_SECONDS)
    yield client
    client.close()


def multipart(size: int) -> tuple[bytes, str]:
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + bytes(size) + b"\r\n--cut--\r\n", "multipart/form-data; boundary=cut"


def pieces() -> Iterator[bytes]:
    for _ in range(10):
        yield b"z" * 1000


LOOKING_ON = ("validate", "lint")
FORM = "application/x-www-form-urlencoded"


def test_neither_has_a_complaint(client: Client, daemon: Daemon, module: Path) -> None:
    for looking_on in LOOKING_ON:
        use(client, looking_on, module)
    assert PURPOSE not in daemon.log()
    assert COMPLAINTS.findall(daemon.log()) == []
    for looking_on in LOOKING_ON:
        break_off(client, looking_on)
    daemon.wait(lambda: daemon.log().count(PURPOSE) == 2 * len(LOOKING_ON), "the errors in the log")
    assert all("RuntimeError during its response" in line for line in COMPLAINTS.findall(daemon.log()))
    for looking_on in LOOKING_ON:  # what is wrong would be seen
        assert Answer(client, "GET", f"/{looking_on}/wrong/").status == 500
    daemon.wait(lambda: daemon.log().count("before its response") == len(LOOKING_ON), "both complaints in the log")


def use(client: Client, looking_on: str, module: Path) -> None:
    """Everything that an application does when all is well."""
    at = f"/{looking_on}/real"
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert Answer(client, method, f"{at}/?name=you").status in {200, 405}
    assert Answer(client, "GET", f"{at}/?name=you").body == b"hello you"
    assert Answer(client, "GET", f"{at}/", If_None_Match='"one"').status in {200, 304}
    assert Answer(client, "GET", f"{at}/nowhere").status == 404
    assert Answer(client, "POST", f"{at}/form", "a=b%20&b=c", Content_Type=FORM).body == b"b c"
    for size in (10, 300_000):
        body, kind = multipart(size)
        assert Answer(client, "POST", f"{at}/upload", body, Content_Type=kind).body == str(size).encode()
    assert Answer(client, "POST", f"{at}/body", b"z" * 100_000, Content_Type="a/b").body == b"100000"
    assert Answer(client, "POST", f"{at}/body", b"", Content_Type="a/b").body == b"0"
    chunked = Answer(client, "POST", f"{at}/body", pieces(), Content_Type="a/b")  # of unknown length: in chunks
    assert chunked.body == b"10000"
    assert Answer(client, "POST", f"{at}/unread", b"z" * 100_000, Content_Type="a/b").body == b"not read"
    assert Answer(client, "GET", f"{at}/stream").body == b"part " * 3
    assert Answer(client, "GET", f"{at}/file").body == module.read_bytes()
    assert Answer(client, "GET", f"{at}/memory").body == b"from memory"
    assert Answer(client, "GET", f"{at}/away").status == 302
    assert Answer(client, "GET", f"{at}/empty").status == 204
    if looking_on == "validate":  # the other takes the length of a body that HEAD does not have for a mistake
        for path in ("?name=you", "stream", "file", "memory", "nowhere"):
            assert Answer(client, "HEAD", f"{at}/{path}").body == b""


def break_off(client: Client, looking_on: str) -> None:
    """An error that the framework answers, and one amid a stream, which ends the connection."""
    assert Answer(client, "GET", f"/{looking_on}/real/error").status == 500
    with pytest.raises(http.client.IncompleteRead) as caught:
        Answer(client, "GET", f"/{looking_on}/real/cut")
    assert caught.value.partial == b"part "
    client.close()  # as the server did; the next request opens another
