"""SCRIPT_NAME: the configured prefix, split off at a segment boundary (PEP 3333); for the profile with `/app`."""

from __future__ import annotations

from ..case import Case, get, one_of, served


def split(target: bytes, script_name: str, path_info: str) -> Case:
    environ = {"SCRIPT_NAME": script_name, "PATH_INFO": path_info, "QUERY_STRING": one_of("", "q", None)}
    return served(target.decode(), get(target), environ=environ, profile="proxied")


GROUPS = {
    "miniwsgi server.script_name": [
        split(b"/app/a", "/app", "/a"),
        split(b"/app", "/app", ""),
        split(b"/app/", "/app", "/"),
        split(b"/app?q", "/app", ""),
        split(b"/app//a", "/app", "//a"),
        split(b"/app/app/a", "/app", "/app/a"),
        split(b"http://b/app/a", "/app", "/a"),
        split(b"/%61pp/a", "/app", "/a"),
        split(b"/apple", "", "/apple"),
        split(b"/APP/a", "", "/APP/a"),
        split(b"/other", "", "/other"),
        split(b"/", "", "/"),
        split(b"/a/app", "", "/a/app"),
    ],
}  # fmt: skip
