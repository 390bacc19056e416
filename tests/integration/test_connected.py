"""environ["miniwsgi.connected"]: in every pool and engine, while the client is there and when it has left."""

from __future__ import annotations

import threading

import pytest

from tests.support.engines import ENGINES
from tests.support.waiting import wait_for

from .worker_harness import Site, pools


def asking(site: Site):
    record = site.record

    def application(environ, start_response):
        connected = environ["miniwsgi.connected"]
        if environ["PATH_INFO"] == "/elsewhere":
            return ask_elsewhere(connected, start_response)
        start_response("200 OK", [])
        return ask(connected)

    def ask(connected):
        yield b"there" if connected() else b"gone"
        record.note("waits")
        wait_for(lambda: not connected())
        record.note("gone")

    def ask_elsewhere(connected, start_response):
        found = []

        def elsewhere():
            try:
                connected()
            except RuntimeError as error:
                found.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        start_response("200 OK", [])
        return [found[0].encode()]

    return application


@pytest.mark.parametrize("engine", ENGINES)
@pools()
def test_it_says_whether_the_client_is_there(site, pool, engine):
    site.fork(asking(site), pool, engine=engine)
    client = site.connect().get("/")
    site.record.wait(1)
    client.take_until(lambda: client.reader.responses and client.reader.responses[0].body)
    assert client.reader.responses[0].body == b"there"
    client.close()
    assert site.record.wait(2) == ["waits", "gone"]


def test_on_another_thread_it_says_that_it_does_not_know(site):
    site.fork(asking(site))
    assert b"on the thread that runs the request" in site.get("/elsewhere").body
