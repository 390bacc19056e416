"""Executes a gunicorn.conf.py and says, as JSON, what it has set, where, and out of what.

It runs by itself, as `python -c`, in the application's interpreter: the standard library and nothing of ours.
Arguments:
the descriptor for the answer, the file or "python:MODULE", and the names of gunicorn's settings, with commas.
"""

import ast
import importlib
import json
import os
import sys
import traceback
import types
from collections.abc import Container, Mapping
from typing import Any

CPUS = {"cpu_count", "process_cpu_count", "sched_getaffinity"}
MEMORY = {"virtual_memory", "sysconf"}
LONGEST = 160


class Assignments(ast.NodeVisitor):
    """What the module's own lines assign, name by name: (line, expression, conditions around it), and its functions."""

    def __init__(self, executed: Container[int]) -> None:
        self.executed = executed
        self.values: dict[str, list[tuple[int, ast.AST, list[ast.expr]]]] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.conditions: list[ast.expr] = []

    def _assign(self, target: ast.AST, node: ast.stmt, value: ast.AST) -> None:
        if isinstance(target, ast.Name):
            self._add(target.id, node.lineno, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else ()
            same = len(parts) == len(target.elts)
            for index, part in enumerate(target.elts):
                self._assign(part, node, parts[index] if same else value)

    def _add(self, name: str, line: int, value: ast.AST) -> None:
        self.values.setdefault(name, []).append((line, value, self.conditions))

    def visit_If(self, node: ast.If) -> None:
        before = self.conditions
        self.conditions = [*before, node.test]
        self.generic_visit(node)
        self.conditions = before

    def visit_Assign(self, node: ast.Assign) -> None:
        if node.lineno in self.executed:
            for target in node.targets:
                self._assign(target, node, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.lineno in self.executed and node.value is not None:
            self._assign(node.target, node, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if node.lineno in self.executed and isinstance(node.target, ast.Name):
            self._add(node.target.id, node.lineno, node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """As `raw_env.append(…)`."""
        call = node.value
        if (
            node.lineno in self.executed
            and isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id in self.values
        ):
            self._add(call.func.value.id, node.lineno, node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.functions[node.name] = node

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """What is assigned in there is no setting."""

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Nor what is in there."""

    # --- questions ---
    def line(self, name: str) -> int:
        if name in self.values:
            return self.values[name][-1][0]
        return self.functions[name].lineno if name in self.functions else 0

    def was(self, name: str) -> str:
        """The source of a value that is not the same everywhere, with what that depends on; "" for others."""
        if name not in self.values:
            return ""
        nodes = self._reached(name)
        if not any(map(self._varies, nodes)):
            return ""
        text = " ".join(ast.unparse(self.values[name][-1][1]).split())
        text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
        hidden = [source for source, word in sorted(self._sources(nodes)) if word not in text]
        return f"{text}, from {' and '.join(hidden)}" if hidden else text

    def parts(self, name: str) -> list[str]:
        """The same for each item of a value that is written as a list; [] for others."""
        node = self.values[name][-1][1] if name in self.values else None
        return [ast.unparse(item) if self._depends(item) else "" for item in getattr(node, "elts", ())]

    def _depends(self, node: ast.AST) -> bool:
        nodes = list(ast.walk(node))
        for one in list(nodes):
            nodes += self._reached(one.id) if isinstance(one, ast.Name) else []
        return any(map(self._varies, nodes))

    def _reached(self, name: str) -> list[ast.AST]:
        """All nodes that a name's value is made of, through other names and functions of the module."""
        nodes: list[ast.AST] = []
        names, known = [name], set[str]()
        while names:
            name = names.pop()
            if name in known:
                continue
            known.add(name)
            roots: list[ast.AST] = []
            for _line, value, conditions in self.values.get(name, ()):
                roots += [value, *conditions]
            roots += [self.functions[name]] if name in self.functions else []
            for root in roots:
                found = list(ast.walk(root))
                nodes += found
                names += [node.id for node in found if isinstance(node, ast.Name)]
        return nodes

    def _varies(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return isinstance(node.ctx, ast.Load) and node.id not in self.values and node.id not in self.functions
        return isinstance(node, (ast.Call, ast.Attribute))

    def _sources(self, nodes: list[ast.AST]) -> set[tuple[str, str]]:
        """(how it is told, the word by which it is seen in an expression)."""
        found = set[tuple[str, str]]()
        for node in nodes:
            word = getattr(node, "attr", getattr(node, "id", ""))
            if word in CPUS:
                found.add(("the CPUs", word))
            elif word in MEMORY:
                found.add(("the memory", word))
            elif isinstance(node, (ast.Call, ast.Subscript)):
                variable = _variable(node)
                if variable:
                    found.add((f"${variable}", variable))
        return found


def _variable(node: ast.Call | ast.Subscript) -> str:
    """The environment variable that an expression reads: os.environ["X"], .get("X"), os.getenv("X"), env("X")."""
    place = node.value if isinstance(node, ast.Subscript) else node.func
    argument = node.slice if isinstance(node, ast.Subscript) else node.args[0] if node.args else None
    words = {getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(place)}
    reads = words & {"environ", "getenv", "env"}
    if reads and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    return ""


def plain(value: object) -> Any:
    """What JSON can say of a value."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    name = getattr(value, "__qualname__", "")
    return {"object": f"{getattr(value, '__module__', '')}.{name}" if name else repr(value), "call": callable(value)}


def execute(where: str) -> tuple[Mapping[str, Any], bytes, Container[int]]:
    """The module's variables, its source and which of its lines were executed."""
    if where.startswith("python:"):
        module = importlib.import_module(where.partition(":")[2])
        source = b""
        if getattr(module, "__file__", None):
            with open(str(module.__file__), "rb") as file:
                source = file.read()
        return vars(module), source, range(1, source.count(b"\n") + 2)
    with open(where, "rb") as file:
        source = file.read()
    code = compile(source, where, "exec")
    module = types.ModuleType("__config__")
    module.__file__ = where
    sys.modules["__config__"] = module
    executed = set[int]()

    def trace(frame: types.FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code is not code:
            return None
        executed.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(code, vars(module))  # noqa: S102 - it is what gunicorn does with it
    finally:
        sys.settrace(before)
    return vars(module), source, executed


def mistake(where: str, error: BaseException) -> dict[str, Any]:
    """An exception, with the line of the file in which it is, and where it was raised if that is elsewhere."""
    line, deepest = 0, ""
    if isinstance(error, SyntaxError):
        line, deepest = error.lineno or 0, "" if error.filename == where else str(error.filename)
        said = error.msg
    else:
        said = str(error)
        for frame in traceback.extract_tb(error.__traceback__):
            line = (frame.lineno or 0) if frame.filename == where else line
            inside = frame.filename != where and not frame.filename.startswith("<")
            deepest = f"{frame.filename}, line {frame.lineno}" if inside and line else ""
    return {"type": type(error).__name__, "message": said, "line": line, "elsewhere": deepest}


def answer(where: str, names: list[str]) -> dict[str, Any]:
    try:
        variables, source, executed = execute(where)
    except (Exception, SystemExit) as error:
        return {"error": mistake(where, error)}
    assignments = Assignments(executed)
    tree = ast.parse(source)
    assignments.visit(tree)
    found = []
    for name in names:
        value = variables.get(name)
        if name in variables and not isinstance(value, types.ModuleType):
            found.append(
                {
                    "name": name,
                    "value": plain(value),
                    "line": assignments.line(name),
                    "was": assignments.was(name),
                    "parts": assignments.parts(name),
                }
            )
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    unused = [name for name in assignments.values if name not in names and name not in read]
    return {"found": found, "unused": [{"name": name, "line": assignments.line(name)} for name in unused]}


if __name__ == "__main__":
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    said = json.dumps(answer(sys.argv[2], sys.argv[3].split(",")))
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(said)
    sys.stdout.flush()
    os._exit(0)  # whatever threads it has started
