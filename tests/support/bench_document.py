"""A results file made up for tests: as many servers as a full run has, figures that are easy to reckon with."""

from __future__ import annotations

from typing import Any

KINDS = {
    "echo-c": "floor",
    "loop-c": "floor",
    "loop-python": "floor",
    "stdlib-http": "road",
    "single": "road",
    "fork": "road",
    "epoll-1": "road",
    "prefork": "road",
    "miniwsgi": "ours",
    "miniwsgi-plain": "ours",
    "bjoern": "peer",
    "fastwsgi": "peer",
    "granian": "peer",
    "gunicorn-sync": "peer",
    "gunicorn-gthread": "peer",
}
RATES = {
    "echo-c": 200e3,
    "loop-c": 180e3,
    "loop-python": 120e3,
    "stdlib-http": 10e3,
    "single": 20e3,
    "fork": 1e3,
    "epoll-1": 58e3,
    "prefork": 50e3,
    "miniwsgi": 60e3,
    "bjoern": 80e3,
    "fastwsgi": 100e3,
    "granian": 50e3,
    "gunicorn-sync": 4e3,
    "gunicorn-gthread": 12e3,
}


def rounds(rate: float, count: int = 3, errors: int = 0, spread: float = 0.01) -> list[dict[str, Any]]:
    """Rounds around a rate: the median is `rate`, the ends lie `spread` away; a request takes all of one processor."""
    found = []
    for number in range(count):
        here = rate * (1 + spread * ((number + 1) % 3 - 1))
        found.append(
            {
                "rate": here,
                "user_us": 0.6e6 / here,
                "system_us": 0.4e6 / here,
                "p50": 32 / here,
                "p99": 64 / here,
                "p999": 96 / here,
                "errors": errors,
                "saturated": False,
                "others": 0.01,
                "pss_bytes": 24 << 20,
            }
        )
    return found


def cell(server: str, workload: str, rate: float, **more: Any) -> dict[str, Any]:
    """One server under one workload."""
    found: dict[str, Any] = {"server": server, "workload": workload, "void": "", "note": "", "rounds": rounds(rate)}
    return {**found, "fixed": None, "curve": None, "system_calls": None, "extra": {}, **more}


def document(workloads: dict[str, dict[str, float]] | None = None) -> dict[str, Any]:
    """A whole results file; `workloads`: name -> server -> rate, by default a hello that all serve."""
    chosen = {"hello": RATES} if workloads is None else workloads
    return {
        "format": 1,
        "started": "2026-01-02T03:04:05Z",
        "took_seconds": 600.0,
        "interrupted": False,
        "machine": {
            "cpu": "Imaginary 3000",
            "cores": 2,
            "kernel": "6.12.1",
            "memory_bytes": 8 << 30,
            "python": "3.11.2",
            "compiler": "gcc 12.2.0",
            "wrk": "4.1.0",
        },
        "versions": {"miniwsgi": "0.9", "bjoern": "3.2.2", "fastwsgi": "0.0.9", "granian": "2.0", "gunicorn": "27.0"},
        "settings": {
            "rounds": 3,
            "seconds": 2.0,
            "warm_up": 0.5,
            "connections": 64,
            "quick": False,
            "server_cpus": [0],
            "load_cpus": [1],
            "rate_share": 0.5,
        },
        "servers": [
            {
                "name": name,
                "kind": kind,
                "package": "gunicorn" if name.startswith("gunicorn") else name.partition("-")[0],
                "what": f"{name} as it is",
                "command": f"{name} --port 8000",
                "missing": "",
            }
            for name, kind in KINDS.items()
        ],
        "workloads": [
            {
                "name": name,
                "what": f"what {name} asks",
                "path": "/",
                "connections": 64,
                "threads": None,
                "workers": 1,
                "servers": list(rates),
            }
            for name, rates in chosen.items()
        ],
        "cells": [cell(server, name, rate) for name, rates in chosen.items() for server, rate in rates.items()],
        "operations": [],
    }
