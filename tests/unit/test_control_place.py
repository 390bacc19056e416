"""Where the control API is: what is a mistake, and what the daemon serves without and says so."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.config import Config, load
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.master.control.control_socket import open_control
from miniwsgi.daemon.master.sockets.unix_sockets import BindError


def config(path: Path | str, **control: Any) -> Config:
    values = {"app.module": "shop", "control.socket": str(path)}
    return load(None, values | {f"control.{key}": value for key, value in control.items()}, {}, directory="/")


def test_a_group_that_the_socket_cannot_be_given_to_fails_the_start_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object, **_named: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    path = tmp_path / "control.sock"
    with pytest.raises(
        BindError, match=r"the group 12345; the unit needs SupplementaryGroups=12345 .*; see control\.group"
    ):
        open_control(config(path, group="12345"), {}, ErrorLog())
    place = open_control(config(path, group=str(os.getegid())), {}, ErrorLog())
    assert (place.name, place.why_off) == (str(path), "")
    place.close()


def test_what_is_missing_otherwise_is_served_without_and_the_reason_kept(tmp_path: Path) -> None:
    place = open_control(config(tmp_path / "missing" / "control.sock"), {}, ErrorLog())
    assert not place.sockets
    assert f"the directory {tmp_path}/missing does not exist" in place.why_off
    assert open_control(config("off"), {}, ErrorLog()).why_off == "control.socket is off"
