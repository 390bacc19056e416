"""Clients as people have them, against a daemon in each pool: each does the same things and says what it saw.

A client is a program that runs a scenario and prints JSON: status, length and digest of each answer, and by how many
connections they came. One that is not installed is skipped. The proxies' own behaviour is tested in test_proxies.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.effort import effort
from tests.support.ports import free_port
from tests.support.programs import program
from tests.support.proxies import HAProxy, Nginx, Proxy
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

from .browser import Browser

MEBIBYTE = 1 << 20
BODY = bytes(range(256)) * 4096
LARGE = bytes(range(256)) * 4096 * 8

APP = """
import hashlib

def application(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain"), ("X-Peer", environ.get("REMOTE_PORT", ""))]
    if path == "/hash":
        digest, length = hashlib.sha256(), 0
        while data := environ["wsgi.input"].read(65536):
            digest.update(data)
            length += len(data)
        body = [f"{digest.hexdigest()} {length}".encode()]
    elif path == "/stream":
        body = (b"part %d\\n" % number for number in range(5))
    elif path == "/large":
        body = [bytes(range(256)) * 4096] * 8
    elif path == "/page":
        headers = [("Content-Type", "text/html"), *headers[1:]]
        body = [b"<!doctype html><title>page</title><link rel=icon href=data:,><p>a page</p>"]
    elif path == "/cached":
        if environ.get("HTTP_IF_NONE_MATCH") == '"one"':
            start_response("304 Not Modified", [("ETag", '"one"')])
            return []
        headers.append(("ETag", '"one"'))
        body = [b"cached"]
    else:
        body = [b"hello"]
    start_response("200 OK", headers)
    return body
"""

# Of each step: status, length of the body, and its digest for those that matter.
UPLOADED = f"{hashlib.sha256(BODY).hexdigest()} {MEBIBYTE}"
EXPECTED: dict[str, Any] = {
    "get": [200, "hello"],
    "head": [200, ""],
    "post": [200, UPLOADED],
    "chunked": [200, UPLOADED],
    "continue": [200, UPLOADED],
    "stream": [200, "".join(f"part {number}\n" for number in range(5))],
    "cached": [304, ""],
    "large": [200, hashlib.sha256(LARGE).hexdigest()],
    "reused": True,
    "concurrent": [200] * 20,
}

REQUESTS = """
import hashlib, json, sys
from concurrent.futures import ThreadPoolExecutor
import requests

base, body = sys.argv[1], bytes(range(256)) * 4096
session, seen = requests.Session(), {}
session.trust_env = False

def of(answer):
    return [answer.status_code, answer.text]

first = session.get(base + "/")
seen["get"] = of(first)
seen["head"] = of(session.head(base + "/"))
seen["post"] = of(session.post(base + "/hash", data=body))
seen["chunked"] = of(session.post(base + "/hash", data=(body[at : at + 50_000] for at in range(0, len(body), 50_000))))
with session.get(base + "/stream", stream=True) as answer:
    seen["stream"] = [answer.status_code, b"".join(answer.iter_content(None)).decode()]
seen["cached"] = of(session.get(base + "/cached", headers={"If-None-Match": '"one"'}))
answer = session.get(base + "/large")
seen["large"] = [answer.status_code, hashlib.sha256(answer.content).hexdigest()]
seen["reused"] = session.get(base + "/").headers["X-Peer"] == first.headers["X-Peer"]
with ThreadPoolExecutor(20) as threads:
    seen["concurrent"] = list(threads.map(lambda _: requests.get(base + "/").status_code, range(20)))
print(json.dumps(seen))
"""

HTTPX = """
import asyncio, hashlib, json, sys
import httpx

base, body = sys.argv[1], bytes(range(256)) * 4096

async def pieces():
    for at in range(0, len(body), 50_000):
        yield body[at : at + 50_000]

async def main():
    seen = {}
    async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as client:
        def of(answer):
            return [answer.status_code, answer.text]
        first = await client.get("/")
        seen["get"] = of(first)
        seen["head"] = of(await client.head("/"))
        seen["post"] = of(await client.post("/hash", content=body))
        seen["chunked"] = of(await client.post("/hash", content=pieces()))
        async with client.stream("GET", "/stream") as answer:
            seen["stream"] = [answer.status_code, "".join([text async for text in answer.aiter_text()])]
        seen["cached"] = of(await client.get("/cached", headers={"If-None-Match": '"one"'}))
        answer = await client.get("/large")
        seen["large"] = [answer.status_code, hashlib.sha256(answer.content).hexdigest()]
        seen["reused"] = (await client.get("/")).headers["X-Peer"] == first.headers["X-Peer"]
        seen["concurrent"] = [a.status_code for a in await asyncio.gather(*(client.get("/") for _ in range(20)))]
    print(json.dumps(seen))

asyncio.run(main())
"""

AIOHTTP = """
import asyncio, hashlib, json, sys
import aiohttp

base, body = sys.argv[1], bytes(range(256)) * 4096

async def pieces():
    for at in range(0, len(body), 50_000):
        yield body[at : at + 50_000]

async def main():
    seen = {}
    async with aiohttp.ClientSession(base_url=base) as session:
        async def ask(method, path, **more):
            async with session.request(method, path, **more) as answer:
                return [answer.status, (await answer.read())], answer.headers.get("X-Peer")
        def text(answer):
            return [answer[0][0], answer[0][1].decode()]
        first = await ask("GET", "/")
        seen["get"] = text(first)
        seen["head"] = text(await ask("HEAD", "/"))
        seen["post"] = text(await ask("POST", "/hash", data=body))
        seen["chunked"] = text(await ask("POST", "/hash", data=pieces()))
        seen["continue"] = text(await ask("POST", "/hash", data=body, expect100=True))
        seen["stream"] = text(await ask("GET", "/stream"))
        seen["cached"] = text(await ask("GET", "/cached", headers={"If-None-Match": '"one"'}))
        (status, content), _ = await ask("GET", "/large")
        seen["large"] = [status, hashlib.sha256(content).hexdigest()]
        seen["reused"] = (await ask("GET", "/"))[1] == first[1]
        answers = await asyncio.gather(*(ask("GET", "/") for _ in range(20)))
        seen["concurrent"] = [answer[0][0] for answer in answers]
    print(json.dumps(seen))

asyncio.run(main())
"""

NODE = """
const http = require("http"), crypto = require("crypto");
const base = process.argv[2], agent = new http.Agent({ keepAlive: true });
const body = Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, n) => n)));

function ask(method, path, { headers = {}, send = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(base + path, { method, headers, agent }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part)).on("error", reject);
      answer.on("end", () => {
        resolve({ status: answer.statusCode, body: Buffer.concat(parts), peer: answer.headers["x-peer"] });
      });
    });
    request.on("error", reject);
    if (send) send(request); else request.end();
  });
}

const text = (answer) => [answer.status, answer.body.toString()];
const chunked = (request) => {
  for (let at = 0; at < body.length; at += 50000) request.write(body.subarray(at, at + 50000));
  request.end();
};
const expecting = (request) => { request.on("continue", () => request.end(body)); request.flushHeaders(); };

(async () => {
  const seen = {}, length = { "Content-Length": body.length };
  const first = await ask("GET", "/");
  seen.get = text(first);
  seen.head = text(await ask("HEAD", "/"));
  seen.post = text(await ask("POST", "/hash", { headers: length, send: (request) => request.end(body) }));
  seen.chunked = text(await ask("POST", "/hash", { send: chunked }));
  seen.continue = text(await ask("POST", "/hash", { headers: { ...length, Expect: "100-continue" }, send: expecting }));
  seen.stream = text(await ask("GET", "/stream"));
  seen.cached = text(await ask("GET", "/cached", { headers: { "If-None-Match": '"one"' } }));
  const large = await ask("GET", "/large");
  seen.large = [large.status, crypto.createHash("sha256").update(large.body).digest("hex")];
  seen.reused = (await ask("GET", "/")).peer === first.peer;
  const many = await Promise.all(Array.from({ length: 20 }, () => ask("GET", "/")));
  seen.concurrent = many.map((answer) => answer.status);
  console.log(JSON.stringify(seen));
  agent.destroy();
})().catch((error) => { console.error(error); process.exit(1); });
"""

POOLS = {
    "epoll, 1 thread": ("--pool", "epoll", "--threads", "1"),
    "epoll, adaptive": ("--pool", "epoll"),
    "prefork": ("--pool", "prefork"),
    "fork": ("--pool", "fork", "--threads", "20"),
}
# The long run asks all of them.
CHOSEN = effort(("epoll, adaptive", "prefork"), tuple(POOLS))


@pytest.fixture(scope="module", params=CHOSEN)
def daemon(request: pytest.FixtureRequest, shared_service: Service) -> Daemon:
    shared_service.write(APP)
    return shared_service.start("--workers", "2", *POOLS[request.param])


def run(*command: str, directory: Path) -> str:
    """What a program prints. Raises AssertionError with what it complained about."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=directory, env=clean,
        timeout=PATIENCE_SECONDS * 2,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def check(seen: dict[str, Any], pool: str) -> None:
    """Whether a client saw what it should; some have no way to wait for 100 (Continue)."""
    expected = {step: EXPECTED[step] for step in EXPECTED if step in seen or step != "continue"}
    if pool == "prefork":  # a connection is kept only while nobody else wants its worker
        seen["reused"] = True
    assert seen == expected


@pytest.mark.parametrize(("name", "script"), [("requests", REQUESTS), ("httpx", HTTPX), ("aiohttp", AIOHTTP)])
def test_python_clients(
    name: str, script: str, daemon: Daemon, service: Service, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(name)
    path = service.directory / f"ask_with_{name}.py"
    path.write_text(script, "utf-8")
    printed = run(sys.executable, str(path), f"http://127.0.0.1:{daemon.port}", directory=service.directory)
    check(json.loads(printed), request.node.callspec.params["daemon"])


def test_node(daemon: Daemon, service: Service, request: pytest.FixtureRequest) -> None:
    path = service.directory / "ask.js"
    path.write_text(NODE, "utf-8")
    printed = run(program("node", "nodejs"), str(path), f"http://127.0.0.1:{daemon.port}", directory=service.directory)
    check(json.loads(printed), request.node.callspec.params["daemon"])


# --- curl -------------------------------------------------------------------------------------------------------------


def curl(directory: Path, *arguments: str) -> str:
    return run(program("curl"), "-q", "--silent", "--show-error", "--noproxy", "*", *arguments, directory=directory)


def curl_scenario(directory: Path, base: str) -> dict[str, Any]:
    """The steps by command line: each answer with its status behind it."""
    (directory / "body").write_bytes(BODY)
    status = ("--write-out", "\n%{http_code}")

    def ask(*arguments: str) -> list[Any]:
        body, _, code = curl(directory, *arguments, *status).rpartition("\n")
        return [int(code), body]

    upload = ("--data-binary", "@body", "-H", "Content-Type: a/b", f"{base}/hash")
    seen: dict[str, Any] = {
        "get": ask(f"{base}/"),
        "head": [ask("--head", "--output", "head", f"{base}/")[0], ""],
        "post": ask("-H", "Expect:", *upload),
        "continue": ask("-H", "Expect: 100-continue", "--expect100-timeout", str(PATIENCE_SECONDS), *upload),
        "chunked": ask("-H", "Expect:", "-H", "Transfer-Encoding: chunked", *upload),
        "stream": ask(f"{base}/stream"),
        "cached": ask("-H", 'If-None-Match: "one"', f"{base}/cached"),
        "large": [ask("--output", "large", f"{base}/large")[0], digest(directory / "large")],
    }
    opened = curl(directory, "--output", "a", "--output", "b", f"{base}/", f"{base}/", "-w", "%{num_connects} ")
    seen["reused"] = opened.split() == ["1", "0"]
    many = [text for number in range(20) for text in ("--output", f"out{number}", f"{base}/")]
    codes = curl(directory, "--parallel", "--parallel-immediate", "--parallel-max", "20", "-w", "%{http_code} ", *many)
    seen["concurrent"] = [int(code) for code in codes.split()]
    return seen


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_curl(daemon: Daemon, service: Service, request: pytest.FixtureRequest) -> None:
    seen = curl_scenario(service.directory, f"http://127.0.0.1:{daemon.port}")
    check(seen, request.node.callspec.params["daemon"])


# --- through proxies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Nginx, HAProxy], ids=lambda kind: kind.name)
def test_curl_through_a_proxy(kind: type[Proxy], service: Service) -> None:
    """The same steps, with connections to the daemon that the proxy keeps."""
    kind.need()
    service.write(APP)
    metrics_port = free_port()
    settings = ("--set", f"metrics.bind=127.0.0.1:{metrics_port}", "--set", f"server.bind=unix:{service.directory}/s")
    service.start(*settings, "--workers", "2", bind=False)
    with kind(service.directory / "proxy", service.directory / "s", metrics_port) as proxy:
        seen = curl_scenario(service.directory, f"http://127.0.0.1:{proxy.address[1]}")
    check(seen, "")


# --- a browser --------------------------------------------------------------------------------------------------------

BROWSED = """
(async () => {
  const body = new Uint8Array(1 << 20).map((_, n) => n & 255), seen = {};
  const text = async (answer) => [answer.status, await answer.text()];
  const hex = (data) => Array.from(new Uint8Array(data)).map((n) => n.toString(16).padStart(2, "0")).join("");
  seen.get = await text(await fetch("/"));
  seen.head = await text(await fetch("/", { method: "HEAD" }));
  seen.post = await text(await fetch("/hash", { method: "POST", body }));
  const reader = (await fetch("/stream")).body.getReader();
  let streamed = "";
  for (let part; !(part = await reader.read()).done; ) streamed += new TextDecoder().decode(part.value);
  seen.stream = [200, streamed];
  const validate = { cache: "no-store", headers: { "If-None-Match": '"one"' } };
  seen.cached = await text(await fetch("/cached", validate));
  const large = await (await fetch("/large")).arrayBuffer();
  seen.large = [200, hex(await crypto.subtle.digest("SHA-256", large))];
  const many = await Promise.all(Array.from({ length: 20 }, (_, n) => fetch("/?" + n)));
  seen.concurrent = many.map((answer) => answer.status);
  window.seen = JSON.stringify(seen);
})().catch((error) => { window.seen = String(error); });
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as browser:
        yield browser


def test_a_browser(browser: Browser, daemon: Daemon) -> None:
    """It has no chunked uploads over HTTP/1.1, no expectations, and shows nobody its connections."""
    browser.open(f"http://127.0.0.1:{daemon.port}/page")
    browser.value(f"void {BROWSED.strip().rstrip(';')}")
    browser.wait(lambda: browser.value("window.seen"), "the requests of the page")
    seen = json.loads(browser.value("window.seen"))
    assert seen == {step: EXPECTED[step] for step in seen}
    assert len(seen) == 7
    assert browser.errors == []
