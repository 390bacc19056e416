"""Commands as Procfiles, shells and units have them: variables, wrappers, what surrounds the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniwsgi.daemon.migration import procfile, shell_line, sources
from miniwsgi.daemon.migration.asked import Asked
from miniwsgi.daemon.migration.draft import Draft, Heading
from miniwsgi.daemon.migration.trouble import ImportTrouble


def imported(directory: Path, text: str, which: str = "", **environ: str) -> Draft:
    path = directory / "Procfile"
    path.write_text(text)
    draft = sources.import_file(str(path), Asked(str(directory), "", environ), "", which)
    draft.finish()
    return draft


def remarks(draft: Draft, heading: Heading) -> dict[str, str]:
    return dict(draft.remarks.get(heading, ()))


# --- words --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "arguments", "variables", "around", "others"),
    [
        ("gunicorn shop:app", ["shop:app"], {}, [], []),
        ("exec gunicorn shop", ["shop"], {}, [], []),
        ("A=1 B='x y' gunicorn shop", ["shop"], {"A": "1", "B": "x y"}, [], []),
        ("env A=1 /venv/bin/gunicorn shop", ["shop"], {"A": "1"}, [], []),
        ("python -m gunicorn -w 2 shop", ["-w", "2", "shop"], {}, [], []),
        ("newrelic-admin run-program gunicorn shop", ["shop"], {}, ["newrelic-admin", "run-program"], []),
        ("poetry run python3 -m gunicorn shop", ["shop"], {}, ["poetry", "run"], []),
        ("python manage.py migrate && gunicorn shop", ["shop"], {}, [], ["python manage.py migrate"]),
        ("cd src; gunicorn shop | tee log", ["shop"], {}, [], ["tee log"]),
        ("gunicorn shop --log-file -", ["shop", "--log-file", "-"], {}, [], []),
        ("bin/start-web python -m gunicorn.app.wsgiapp shop", ["shop"], {}, ["bin/start-web"], []),
        ("tini -g -- gunicorn shop", ["shop"], {}, ["tini", "-g", "--"], []),
        ("doppler run -- python -u -m gunicorn shop", ["shop"], {}, ["doppler", "run", "--"], []),
        ("sh -c 'migrate && exec gunicorn shop'", ["shop"], {}, [], ["migrate"]),
        ("bash -lc 'A=1 gunicorn shop' && echo", ["shop"], {"A": "1"}, [], ["echo"]),
        ("gunicorn 'shop:create_app(\"x\")'", ['shop:create_app("x")'], {}, [], []),
        ("gunicorn --access-logformat '%(h)s \"%(r)s\"'", ["--access-logformat", '%(h)s "%(r)s"'], {}, [], []),
    ],
)  # fmt: skip
def test_a_line_is_taken_apart(
    text: str, arguments: list[str], variables: dict[str, str], around: list[str], others: list[str]
) -> None:
    found = shell_line.line(text)
    assert list(found.arguments) == arguments
    assert dict(found.variables) == variables
    assert (list(found.around), list(found.others)) == (around, others)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uvicorn shop:app", "it serves ASGI"),
        ("python -m flask run", "flask is not imported"),
        ("celery -A shop worker", "is run by: celery -A shop worker"),
        ("gunicorn 'shop", "no closing quotation"),
        ("", "(nothing)"),
    ],
)
def test_what_is_not_understood_is_said(text: str, said: str) -> None:
    with pytest.raises(ImportTrouble) as caught:
        shell_line.line(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "done", "unknown"),
    [
        ("$A", "1", ()),
        ("${A}x", "1x", ()),
        ("${B:-2}", "2", ()),
        ("${A:-2}", "1", ()),
        ("${B-}", "", ()),
        ("0.0.0.0:$B", "0.0.0.0:$B", ("B",)),
        ("no", "no", ()),
    ],
)
def test_variables_are_replaced(text: str, done: str, unknown: tuple[str, ...]) -> None:
    found = shell_line.expanded(text, {"A": "1"})
    assert (found.text, found.unknown) == (done, unknown)


# --- Procfiles ----------------------------------------------------------------------------------------
def test_the_web_process_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    draft = imported(
        tmp_path,
        "release: python manage.py migrate\n"
        "# a comment\n"
        "worker: celery -A shop worker\n"
        "web: DJANGO_SETTINGS_MODULE=shop.settings newrelic-admin run-program gunicorn shop.wsgi \\\n"
        "  --workers 3 --log-file -\n",
    )
    assert draft.lines["app.module"].value == "shop.wsgi"
    assert draft.lines["server.workers"].value == 3
    assert draft.env["DJANGO_SETTINGS_MODULE"].value == "shop.settings"
    todo = remarks(draft, Heading.TODO)
    assert "ExecStartPre=" in todo["release"]
    assert "a unit (or container) of its own" in todo["worker"]
    assert "newrelic-admin run-program miniwsgi serve" in todo["wrapper"]


def test_variables_of_a_platform_are_left_to_be_read_each_time(tmp_path: Path) -> None:
    """What a weaker source says of them does not hold either."""
    (tmp_path / "gunicorn.conf.py").write_text("bind = '127.0.0.1:9'\n")
    line = "web: gunicorn -b 0.0.0.0:$PORT -w ${WEB_CONCURRENCY:-3} shop\n"
    draft = imported(tmp_path, line, PORT="5000")
    assert "server.bind" not in draft.lines
    assert "server.workers" not in draft.lines
    assert "$PORT is obeyed by itself" in remarks(draft, Heading.BUILT_IN)["bind"]


def test_of_several_addresses_those_that_are_known_stay(tmp_path: Path) -> None:
    draft = imported(tmp_path, "web: gunicorn -b unix:/run/x.sock -b :$PORT shop\n")
    assert draft.lines["server.bind"].value == ["unix:/run/x.sock"]
    assert any("bind :$PORT is left out: $PORT is not set here" in warning for warning in draft.warnings)


def test_other_variables_are_taken_from_where_it_is_imported(tmp_path: Path) -> None:
    draft = imported(tmp_path, "web: gunicorn --timeout $T --threads ${N:-4} --keep-alive $NO shop\n", T="9")
    assert (draft.lines["timeouts.request"].value, draft.lines["timeouts.request"].was) == (9, "$T")
    assert draft.lines["server.threads"].value == 4
    assert "timeouts.keep_alive" not in draft.lines
    assert any("$NO is not set here (NO=… miniwsgi import …)" in warning for warning in draft.warnings)


@pytest.mark.parametrize(
    ("text", "which", "said"),
    [
        ("", "", "names no process"),
        ("web gunicorn shop\n", "", "Procfile, line 1: 'web gunicorn shop': expected NAME: COMMAND"),
        ("a: gunicorn shop\nb: gunicorn shop\n", "", "no process web: name one of a, b with --select"),
        ("web: gunicorn shop\n", "b", "has no process 'b': it has web"),
    ],
)
def test_a_procfile_that_is_not_understood_says_where(text: str, which: str, said: str) -> None:
    with pytest.raises(ImportTrouble) as caught:
        procfile.chosen(procfile.processes(text), which)
    assert said in str(caught.value)


def test_a_single_process_of_another_name_is_taken() -> None:
    assert procfile.chosen(procfile.processes("api: gunicorn shop"), "") == "api"


def test_a_directory_that_is_changed_to_before_is_the_applications(tmp_path: Path) -> None:
    (tmp_path / "backend" / "sub").mkdir(parents=True)
    draft = imported(tmp_path, "web: cd backend && cd sub && gunicorn --pid run/pid shop")
    assert draft.lines["app.directory"].value == f"{tmp_path}/backend/sub"
    assert draft.lines["server.pid_file"].value == f"{tmp_path}/backend/sub/run/pid"
    within_a_shell = imported(tmp_path, "web: sh -c 'cd backend; exec uwsgi --module shop'")
    assert within_a_shell.lines["app.directory"].value == f"{tmp_path}/backend"


def test_what_a_shell_computes_is_left_out_and_told(tmp_path: Path) -> None:
    for text in ("$(nproc)", "$((2*$(nproc)+1))", "`nproc`"):
        draft = imported(tmp_path, f"web: gunicorn shop -w '{text}' -t '$(cat t)'")
        assert not {"server.workers", "timeouts.request"} & draft.lines.keys()
        assert remarks(draft, Heading.BUILT_IN)["workers"].startswith(f"{text}: without server.workers")
        assert "a shell computed it" in remarks(draft, Heading.TODO)["timeout"]


def test_another_server_of_a_procfile_is_no_worker(tmp_path: Path) -> None:
    draft = imported(tmp_path, "web: gunicorn shop\nadmin: gunicorn admin\nqueue: celery worker")
    todo = remarks(draft, Heading.TODO)
    assert todo["admin"] == "gunicorn admin: a web server, too: import it with --select admin, into a file of its own"
    assert "no web server" in todo["queue"]


@pytest.mark.parametrize(
    ("text", "name", "is_told"),
    [
        ("gunicorn shop -b 0.0.0.0:$PORT", "bind", False),
        ("gunicorn shop -b :$PORT", "bind", False),
        ("gunicorn shop -b 127.0.0.1:$PORT", "bind", True),
        ("gunicorn shop -b $HOST:$PORT", "bind", True),
        ("uwsgi --http-socket :$PORT -w shop", "http-socket", False),
        ("uwsgi --http-socket 127.0.0.1:$PORT -w shop", "http-socket", True),
    ],
)
def test_an_address_with_the_platforms_port_does_not_become_all_addresses_unsaid(
    tmp_path: Path, text: str, name: str, is_told: bool
) -> None:
    draft = imported(tmp_path, f"web: {text}")
    assert "server.bind" not in draft.lines
    assert (name in remarks(draft, Heading.TODO)) is is_told
    assert (name in remarks(draft, Heading.BUILT_IN)) is not is_told
    assert any("listens on all addresses" in warning for warning in draft.warnings) is is_told
