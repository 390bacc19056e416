"""Configurations as the control API shows them: the one in force, and what another one would change.

Secrets are masked, also where two values are compared. What is checked is read and validated, never executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from miniwsgi.manager import messages as ms

from ...config import Config, ConfigError, Problem, ReadConfig, differences, reload_problems
from ...config.effective import shown_values
from ...config.keys import KEYS
from ...config.problems import shown


def view(config: Config, runtime: Mapping[str, Any]) -> ms.ConfigView:
    """The configuration in force. `runtime`: the keys that are overridden, with the values that hold instead."""
    values = shown_values(config)
    return ms.ConfigView(
        path=config.path or None,
        values=[_value(path, values[path], config.origins[path], runtime) for path in KEYS],
        file_variables=sorted(config.file_variables),
        notes=list(map(str, config.notes)),
    )


def _value(path: str, value: Any, origin: str, runtime: Mapping[str, Any]) -> ms.ConfigValue:
    kind = KEYS[path].kind
    if path in runtime:
        return ms.ConfigValue(path, runtime[path], kind.show(runtime[path]), "runtime", configured=kind.as_json(value))
    return ms.ConfigValue(path, kind.as_json(value), kind.show(value), cast("ms.Origin", origin))


def check(read: ReadConfig, text: str | None, current: Config) -> ms.ConfigReport:
    """What the file on disk, or `text` in its place, is worth. Blocks."""
    try:
        config = read(text)
    except ConfigError as error:
        return ms.ConfigReport(
            valid=False, problems=[_problem(one) for one in error.problems], changes=[], restart=[], notes=[]
        )
    stubborn = {problem.key for problem in reload_problems(current, config)}
    old, new = shown_values(current), shown_values(config)
    changes: list[ms.ConfigChange] = []
    restart: list[ms.ConfigChange] = []
    for path in differences(current, config):
        show = KEYS[path].kind.show
        change = ms.ConfigChange(path, show(old[path]), show(new[path]))
        (restart if path in stubborn else changes).append(change)
    notes = list(map(str, config.notes))
    return ms.ConfigReport(valid=True, problems=[], changes=changes, restart=restart, notes=notes)


def _problem(problem: Problem) -> ms.ConfigProblem:
    return ms.ConfigProblem(
        key=problem.key,
        value="" if problem.value is None else shown(problem.value),
        expected=problem.expected,
        source=problem.source,
        message=str(problem),
        code=str(problem.code),
    )
