"""What is to be served, as people write it: a module or a file, what in it, and with which arguments it is called.

    shop.wsgi:application    shop:create_app("x", debug=False)    ./shop.py    /srv/shop/wsgi.py:app

The configuration makes paths absolute (`absolute`), whoever imports takes it apart (`Target.parse`). Nothing is
imported or executed here; arguments are literals (ast.literal_eval), as in gunicorn. Standard library only.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from .unpatched import os

MAX_NAMES = 6
LITERALS = "texts, numbers, True, False, None, and lists, tuples, sets and dicts of them"


class TargetError(ValueError):
    """It cannot be understood, or there is no such file. One line, with the remedy."""


class Target(NamedTuple):
    """What to import, what to take of it, and how to call that."""

    module: str  # the dotted name
    attribute: str = ""  # dotted; "" if none is named
    is_call: bool = False  # what is taken is called with these, and makes the application
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()
    file: str = ""  # the module's file, absolute, if that was named; and where an import of `module` finds it
    root: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Relative paths start at the current directory. Raises TargetError."""
        name, colon, rest = text.strip().partition(":")
        file = root = ""
        if _is_path(name):
            file = _file_of(name)
            root, name = _importable(file)
        elif not all(part.isidentifier() for part in name.split(".")):
            raise TargetError(f"{name!r} is not the name of a Python module; write package.module:attribute")
        attribute, arguments, keywords = _call(f"{name}:{rest}", rest) if "(" in rest else (rest, (), ())
        if colon and not all(part.isidentifier() for part in attribute.split(".")):
            raise TargetError(f"{attribute!r} is not the name of a Python attribute; write {name}:app or such")
        return cls(name, attribute, "(" in rest, arguments, keywords, file, root)


def absolute(text: str, base: str) -> str:
    """The target with the path of its file, if it names one, made absolute; symbolic links stay."""
    name, colon, rest = text.strip().partition(":")
    if not _is_path(name):
        return text
    path = os.path.normpath(os.path.join(base, os.path.expanduser(name)))
    return f"{path}{'/' if os.path.isdir(path) else ''}{colon}{rest}"


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".py")


# --- files -------------------------------------------------------------------------------------------------
def _file_of(path: str) -> str:
    """The source file that a path names: itself, without its .py, or a package's directory. Raises TargetError."""
    path = os.path.abspath(path)
    for candidate in (path, f"{path}.py", f"{path}/__init__.py"):
        if candidate.endswith(".py") and os.path.isfile(candidate):
            return candidate
    raise TargetError(_no_file(path))


def _no_file(path: str) -> str:
    """Why a path names no source file, and what could be meant."""
    if path.endswith(".toml") and os.path.isfile(path):
        return f"{path} is a configuration file: -c {path}"
    if os.path.isfile(path):
        return f"{path} is not a .py file, and only those can be imported: give it that ending"
    directory, name = os.path.split(path)
    said = f"there is no file{'' if name.endswith('.py') else ' or directory'} {path}"
    if os.path.isdir(path):
        said, directory = f"{path} is a directory, and no package, for it has no __init__.py", path
    try:
        files = sorted(entry for entry in os.listdir(directory) if entry.endswith(".py"))
    except OSError as error:
        return f"{said}; {directory} cannot be listed: {error.strerror}"
    stems = [file.removesuffix(".py") for file in files]
    if near := importlib.import_module("difflib").get_close_matches(name.removesuffix(".py"), stems, 1, 0.6):
        return f"{said}: did you mean {directory}/{near[0]}.py?"
    return f"{said}; there is {', '.join(files[:MAX_NAMES]) or 'no Python file'} in {directory}"


def _importable(file: str) -> tuple[str, str]:
    """The directory to search first, above all packages of the file, and the dotted name. Raises TargetError."""
    path = file.removesuffix(".py").removesuffix("/__init__")
    root, name = os.path.split(path)
    if "." in name:
        raise TargetError(f"{file} cannot be imported, for its name has a dot in it: rename it")
    while os.path.isfile(f"{root}/__init__.py"):
        root, package = os.path.split(root)
        name = f"{package}.{name}"
    return root, name


# --- calls -------------------------------------------------------------------------------------------------
def _call(target: str, text: str) -> tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    """The name and the arguments of "create_app('x', debug=False)". Raises TargetError."""
    ast = importlib.import_module("ast")  # seldom needed, and it would be in every worker
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise TargetError(f"{target} is not a call as Python writes it: {why}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name | ast.Attribute):
        raise TargetError(f"{target} is not one call of one name; write it as in shop:create_app('x', debug=False)")
    if any(keyword.arg is None for keyword in call.keywords):
        raise TargetError(f"{target}: ** is not allowed; write each argument out")
    arguments = tuple(_literal(ast, target, node) for node in call.args)
    keywords = tuple((keyword.arg, _literal(ast, target, keyword.value)) for keyword in call.keywords)
    return ast.unparse(call.func), arguments, keywords


def _literal(ast: Any, target: str, node: Any) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise TargetError(
            f"{target}: the argument {ast.unparse(node)} is not a literal; allowed are {LITERALS}: what has to be "
            "computed, or read from the environment, belongs into the factory"
        ) from None
