"""HTTPS: hello-world on kept connections, and with a full handshake for each request; ECDSA P-256, TLS 1.3.

    .venv/bin/python -m bench.tls PYTHON-OF-THE-PEERS [--seconds 5] [--rounds 3] [SERVER…]

A script of its own beside `bench/run.py`: each server is told of certificates in its own way, and its load needs an
own client for handshakes. As there, servers take turns, the server has one processor and the load the other. What is
compared is the server's processor time for a request, of all of its processes: a load that does TLS itself is slower
than some servers.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.cpu_time import sum_cpu
from bench.processes import choose_cpus, free_port, kill_all, tree
from bench.servers import APPS, HELLO

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CONNECTIONS = 64
CLIENTS = 8  # threads that do handshakes
NGINX = """
daemon off; {user} worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4000; }}
http {{
  access_log off; keepalive_timeout 75s; keepalive_requests 100000000;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
  scgi_temp_path {directory}/d; uwsgi_temp_path {directory}/e;
  upstream application {{ server 127.0.0.1:{behind}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {directory}/chain.pem; ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;
    location / {{ proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


class World:
    """Where certificates lie, and who runs what."""

    def __init__(self, directory: Path, peers: str) -> None:
        self.directory = directory
        self.peers = peers
        self.certificate, self.key = directory / "chain.pem", directory / "key.pem"
        subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        out = ("-keyout", str(self.key), "-out", str(self.certificate))
        subprocess.run(
            [shutil.which("openssl") or "openssl", "req", "-x509", *curve, *subject, *out],
            check=True,
            capture_output=True,
        )

    def ours(self, port: int, *, engine: str = "auto") -> list[list[str]]:
        file = self.directory / f"ours-{port}.toml"
        table = f'{{ address = "127.0.0.1:{port}", certificate = "{self.certificate}", key = "{self.key}" }}'
        file.write_text(f'[app]\nmodule = "{HELLO}"\ndirectory = "{APPS}"\n[server]\nworkers = 1\nbind = [{table}]\n')
        flags = ["--engine", engine, "--metrics-bind", "off", "--control", "off"]
        return [[sys.executable, "-m", "miniwsgi.daemon", "serve", "-c", str(file), *flags]]

    def ours_plain(self, port: int) -> list[list[str]]:
        return self.ours(port, engine="plain")

    def nginx(self, port: int) -> list[list[str]]:
        behind, file = free_port(), self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(NGINX.format(directory=self.directory, port=port, behind=behind, user=user))
        served = [sys.executable, "-m", "miniwsgi.daemon", "serve", HELLO, "--chdir", str(APPS), "--workers", "1"]
        served += ["--bind", f"127.0.0.1:{behind}", "--metrics-bind", "off", "--control", "off"]
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
        log = str(self.directory / "nginx.log")
        return [served, [program, "-p", str(self.directory), "-c", str(file), "-e", log]]

    def granian(self, port: int) -> list[list[str]]:
        flags = ["--interface", "wsgi", "--working-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port)]
        flags += ["--workers", "1", "--http", "1", "--no-ws", "--blocking-threads", "1", "--log-level", "warning"]
        flags += ["--ssl-certificate", str(self.certificate), "--ssl-keyfile", str(self.key)]
        return [[self._script("granian"), HELLO, *flags]]

    def gunicorn(self, port: int) -> list[list[str]]:
        flags = ["--chdir", str(APPS), "--bind", f"127.0.0.1:{port}", "--workers", "1", "--worker-class", "gthread"]
        flags += ["--threads", "8", "--no-control-socket", "--log-level", "warning", "--keep-alive", "75"]
        flags += ["--certfile", str(self.certificate), "--keyfile", str(self.key)]
        return [[self.peers, "-m", "gunicorn", HELLO, *flags]]

    def uwsgi(self, port: int) -> list[list[str]]:
        flags = ["--https", f"127.0.0.1:{port},{self.certificate},{self.key}", "--http-keepalive", "--master"]
        flags += ["--die-on-term", "--need-app", "--disable-logging", "--chdir", str(APPS), "--module", HELLO]
        flags += ["--home", str(Path(self.peers).parents[1]), "--enable-threads", "--threads", "8"]
        return [[self._script("uwsgi"), *flags]]

    def _script(self, name: str) -> str:
        return str(Path(self.peers).parent / name)


SERVERS: dict[str, Callable[[World, int], list[list[str]]]] = {
    "miniwsgi": World.ours,
    "miniwsgi-plain": World.ours_plain,
    "nginx-miniwsgi": World.nginx,
    "granian": World.granian,
    "gunicorn-gthread": World.gunicorn,
    "uwsgi": World.uwsgi,
}


def unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(context: ssl.SSLContext, port: int) -> None:
    """A full one, with a request. Raises OSError, ValueError."""
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        client.sendall(REQUEST)
        answer = b""
        while b"Hello, world!" not in answer:
            data = client.recv(65536)
            if not data:
                raise ValueError(f"answered {answer!r}")
            answer += data


def handshakes(port: int, seconds: float) -> int:
    """How many were done."""
    context, ends = unchecked(), time.monotonic() + seconds
    counts = [0] * CLIENTS

    def go(number: int) -> None:
        while time.monotonic() < ends:
            handshake(context, port)
            counts[number] += 1

    threads = [threading.Thread(target=go, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def kept(port: int, seconds: float) -> int:
    """How many requests wrk has had answered."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", f"https://127.0.0.1:{port}/"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    if wrong := re.search(r"(Socket errors|Non-2xx).*", told):
        print(wrong[0], file=sys.stderr)
    found = re.search(r"(\d+) requests in", told)
    if found is None:
        raise ValueError(told)
    return int(found[1])


KINDS: dict[str, Callable[[int, float], int]] = {"keep-alive": kept, "a handshake each": handshakes}


def measure(world: World, name: str, seconds: float, cpus: list[int]) -> dict[str, tuple[float, float]]:
    """By kind: requests a second, and microseconds of the server's processors for each."""
    port = free_port()
    roots = []
    try:
        for command in SERVERS[name](world, port):
            pinned = ["taskset", "-c", ",".join(map(str, cpus)), *command] if cpus else command
            null = subprocess.DEVNULL
            roots.append(subprocess.Popen(pinned, stdin=null, stdout=null, stderr=null).pid)
        wait_until_served(port)
        found = {}
        for kind, load in KINDS.items():
            load(port, min(1.0, seconds))  # warm
            pids = [pid for root in roots for pid in tree(root)]
            before, began = sum_cpu(pids).total, time.monotonic()
            count = load(port, seconds)
            took, used = time.monotonic() - began, sum_cpu(pids).total - before
            found[kind] = (count / took, used / count * 1e6)
        return found
    finally:
        pids = [pid for root in roots for pid in tree(root)]
        for root in roots:
            with suppress(ProcessLookupError):
                os.kill(root, signal.SIGTERM)
        time.sleep(0.5)
        kill_all(pids)


def wait_until_served(port: int) -> None:
    for _ in range(200):
        try:
            handshake(unchecked(), port)
        except (OSError, ValueError):
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("nobody serves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", help="the interpreter of the peers' environment")
    parser.add_argument("servers", nargs="*", default=list(SERVERS))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    server_cpus, load_cpus = choose_cpus()
    if load_cpus:
        os.sched_setaffinity(0, load_cpus)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), chosen.peers)
        for _ in range(chosen.rounds):
            for name in chosen.servers:
                for kind, taken in measure(world, name, chosen.seconds, server_cpus).items():
                    found.setdefault((kind, name), []).append(taken)
    for (kind, name), all_taken in sorted(found.items()):
        rates, costs = zip(*all_taken, strict=True)
        print(
            f"{kind:18} {name:18} {statistics.median(rates):9,.0f}/s {statistics.median(costs):9.1f} µs CPU a request"
        )


if __name__ == "__main__":
    main()
