"""An application is a file, or a call with literal arguments, as people write it; or what is said about it helps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.worker.application import load

from .application_world import APP, Write, failure, restored, settings, write

__all__ = ["restored", "write"]


# --- calls -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("factory", [True, False], ids=["--factory", "alone"])
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("create_app()", ((), {})),
        ('create_app("x", debug=False)', (("x",), {"debug": False})),
        ("inner.create_app('a:b', -1.5, None)", (("a:b", -1.5, None), {})),
        ("create_app([1, (2, 3)], {'k': {4}}, b'x')", (([1, (2, 3)], {"k": {4}}, b"x"), {})),
    ],
)
def test_calls_a_factory_with_literal_arguments(
    tmp_path: Path, write: Write, call: str, arguments: tuple[object, object], factory: bool
) -> None:
    write(
        "made.py",
        """
        def create_app(*arguments, **keywords):
            return lambda environ, start_response: [(arguments, keywords)]
        class inner:
            create_app = staticmethod(create_app)
        """,
    )
    assert load(settings(tmp_path, f"made:{call}", factory))({}, None) == [arguments]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("create_app(1, 2)", "made:create_app takes (name), and cannot be called as it is written: "),
        ("create_app(os.environ)", "the argument os.environ is not a literal; allowed are texts, numbers, True, False"),
        ("create_app(name=1 + x)", "the argument 1 + x is not a literal"),
        ("create_app(*[1])", "the argument *[1] is not a literal"),
        ("create_app(**{})", "** is not allowed; write each argument out"),
        ("create_app('x'", "is not a call as Python writes it: '(' was never closed"),
        ("create_app()()", "is not one call of one name; write it as in shop:create_app('x', debug=False)"),
        ("(create_app)", "is not one call of one name"),
    ],
)
def test_says_what_is_wrong_with_a_call(tmp_path: Path, write: Write, call: str, expected: str) -> None:
    write("made.py", "def create_app(name): ...")
    assert expected in failure(tmp_path, f"made:{call}").error


# --- files -------------------------------------------------------------------------------------------
ANSWERS = "def {0}(environ, start_response): return [b'{0}']\n"
MAKES = "def {0}(): return lambda environ, start_response: [b'made by {0}']\n"


@pytest.mark.parametrize(
    ("source", "answer", "told"),
    [
        (ANSWERS.format("app"), b"app", "serves `app`"),
        (ANSWERS.format("wsgi"), b"wsgi", "serves `wsgi`"),
        (ANSWERS.format("app") + "application = app\n", b"app", "serves `application`"),
        (MAKES.format("make_app"), b"made by make_app", "serves what make_app() returns"),
        (
            MAKES.format("make_app") + MAKES.format("create_app"),
            b"made by create_app",
            "serves what create_app() returns",
        ),
        (MAKES.format("create_app") + ANSWERS.format("app"), b"app", "serves `app`"),
        ("app = None\n" + MAKES.format("create_app"), b"made by create_app", "serves what create_app() returns"),
    ],
)
def test_says_what_it_took_of_a_file(tmp_path: Path, write: Write, source: str, answer: bytes, told: str) -> None:
    path = write("shop.py", source)
    said: list[str] = []
    assert load(settings(tmp_path, "./shop.py"), said.append)({}, None) == [answer]
    assert said == [f"./shop.py: {told}"]
    assert load(settings(tmp_path, str(path)))({}, None) == [answer]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("pkg/sub/wsgi.py:app", "pkg.sub.wsgi"),
        ("{dir}/pkg/sub/wsgi:app", "pkg.sub.wsgi"),
        ("./pkg/sub/:app", "pkg.sub"),
        ("plain/my-wsgi.py:app", "my-wsgi"),
        ("wsgi.py:create('x/y')", "wsgi"),
    ],
)
def test_imports_a_file_from_above_the_packages_that_it_is_in(
    tmp_path: Path, write: Write, target: str, name: str
) -> None:
    source = APP + "def create(name): return app\n"
    for file in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/wsgi.py", "plain/my-wsgi.py", "wsgi.py"):
        write(file, source)
    application = load(settings(tmp_path, target.format(dir=tmp_path)))
    assert application.__module__ == name
    root = tmp_path / "plain" if name == "my-wsgi" else tmp_path
    assert sys.path[0] == str(root)
    assert os.getcwd() == str(tmp_path), "its own directory is the application's working directory"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("./nowhere/", "there is no file or directory {dir}/nowhere; there is both.py"),
        ("./shp.py", "there is no file {dir}/shp.py: did you mean {dir}/shop.py?"),
        ("./nothing.py:app", "there is no file {dir}/nothing.py; there is both.py, json.py, pack.py, shop.py in {dir}"),
        (
            "./gone/shop.py",
            "there is no file {dir}/gone/shop.py; {dir}/gone cannot be listed: No such file or directory",
        ),
        (
            "./empty/",
            "{dir}/empty is a directory, and no package, for it has no __init__.py; there is no Python file in",
        ),
        ("./text.wsgi", "{dir}/text.wsgi is not a .py file, and only those can be imported: give it that ending"),
        ("./project.toml", "{dir}/project.toml is a configuration file: -c {dir}/project.toml"),
        ("./sub/a.b.py", "{dir}/sub/a.b.py cannot be imported, for its name has a dot in it: rename it"),
        (
            "./both.py",
            "{dir}/both.py has `application` and `app`, which are not the same: name one, as in {dir}/both.py:app",
        ),
        ("./json.py", "the name json is taken by another module ({json}): rename one of them"),
        ("./pack.py", "the name pack is taken by another module ({dir}/pack/__init__.py): rename one of them"),
        (
            "./shop.py:aplication",
            "module shop ({dir}/shop.py) has no attribute 'aplication': did you mean `application`?",
        ),
        ("./shop.py:create_app(", "is not a call as Python writes it"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, write: Write, target: str, expected: str) -> None:
    for file in ("shop.py", "json.py", "pack.py", "pack/__init__.py", "text.wsgi", "sub/a.b.py", "project.toml"):
        write(file, "def application(environ, start_response): ...")
    write("both.py")
    (tmp_path / "empty").mkdir()
    error = failure(tmp_path, target)
    assert error.code in {Code.NO_MODULE, Code.NO_APPLICATION}
    assert expected.format(dir=tmp_path, json=json.__file__) in error.error
