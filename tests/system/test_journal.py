"""What the journal holds about the service, and that it can be asked for."""

from __future__ import annotations

from typing import Any

from .machine import MAIN, Machine, ask


def test_entries_carry_their_priority_and_fields(machine: Machine) -> None:
    machine.systemctl("start")
    machine.get("/say?text=a-word-of-the-application")
    found = wait_for(machine, "a-word-of-the-application")
    assert found["_SYSTEMD_UNIT"] == "miniwsgi.service"
    assert found["SYSLOG_IDENTIFIER"] == MAIN
    ready = wait_for(machine, "is ready after")
    assert ready["PRIORITY"] == "6"
    machine.switch("broken", True)
    machine.run("systemctl", "reload", MAIN)
    failed = wait_for(machine, "reload failed", "--unit", MAIN, "MINIWSGI_SOURCE=master")
    assert failed["PRIORITY"] == "3"
    assert "the shop is out of order" in failed["MESSAGE"]
    assert "Traceback" in failed["MESSAGE"], "the whole traceback is in one entry"


def test_entries_of_a_worker_are_found_by_its_slot(machine: Machine) -> None:
    machine.configure(workers=2)
    machine.systemctl("start")
    machine.attempt("raise SystemError")
    machine.get("/say?text=said-by-a-worker")
    entry = wait_for(machine, "said-by-a-worker")
    slot = entry["MINIWSGI_SLOT"]
    assert slot in {"0", "1"}
    here = machine.journal("--unit", MAIN, f"MINIWSGI_SLOT={slot}")
    assert any("said-by-a-worker" in found["MESSAGE"] for found in here)
    other = machine.journal("--unit", MAIN, f"MINIWSGI_SLOT={1 - int(slot)}")
    assert not any("said-by-a-worker" in found["MESSAGE"] for found in other)


def test_a_request_is_found_by_the_id_that_a_trusted_proxy_gave_it(machine: Machine) -> None:
    machine.configure(rest='[proxy]\ntrusted = ["unix"]\n')
    machine.systemctl("start")
    ask(machine.address(), "GET", "/fail", headers={"X-Request-ID": "the-one-that-failed"})
    wait_for(machine, "as was asked for")
    [entry] = machine.journal("--unit", MAIN, "MINIWSGI_REQUEST_ID=the-one-that-failed")
    assert "ValueError: as was asked for" in entry["MESSAGE"]
    assert entry["PRIORITY"] == "3"


def test_entries_of_an_instance_are_found_by_its_unit(machine: Machine) -> None:
    machine.application("shop")
    machine.configure("shop")
    machine.systemctl("start", "shop")
    assert ask(machine.address("shop"), "GET", "/").startswith("v1 ")
    ready = wait_for(machine, "is ready after", "--unit", "miniwsgi@shop")
    assert ready["_SYSTEMD_UNIT"] == "miniwsgi@shop.service"
    assert ready["SYSLOG_IDENTIFIER"] == MAIN


def wait_for(machine: Machine, text: str, *matches: str) -> dict[str, Any]:
    """The first entry of the service with this text."""

    def entries() -> list[dict[str, Any]]:
        return [entry for entry in machine.journal(*(matches or ("--unit", MAIN))) if text in str(entry["MESSAGE"])]

    machine.wait(entries, f"{text!r} in the journal")
    return entries()[0]
