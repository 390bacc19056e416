"""Every configuration key by its path, and the sections that they stand in.

A key is declared once, in serving_keys, proxy_keys or managing_keys: name, kind, default, command-line flag, one line
of documentation. The sections are frozen dataclasses; a field's `key(…)` carries what the loader, `--help`,
`miniwsgi config` and the reference in docs/configuration.md need. Durations are seconds, sizes bytes, paths absolute. A
key that can be off is 0 or "" then; "off", false, 0 and "" all say it (`kinds.is_off`). A default that depends on the
machine is computed at each load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .declaration import Key
from .managing_keys import ControlSection, LogSection, MetricsSection
from .proxy_keys import ProxySection
from .serving_keys import AppSection, LimitsSection, RecycleSection, ServerSection, TimeoutsSection
from .static_files import STATIC

SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "app": AppSection,
        "server": ServerSection,
        "limits": LimitsSection,
        "timeouts": TimeoutsSection,
        "recycle": RecycleSection,
        "proxy": ProxySection,
        "log": LogSection,
        "control": ControlSection,
        "metrics": MetricsSection,
    }
)
# Below its section a key has a name; `static` is a key by itself, a list of tables.
KEYS: Mapping[str, Key] = MappingProxyType(
    {
        f"{section}.{field.name}": dataclasses.replace(field.metadata["key"], path=f"{section}.{field.name}")
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
    }
    | {STATIC.path: STATIC}
)
