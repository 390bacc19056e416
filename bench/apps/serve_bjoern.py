"""bjoern has no command of its own: serve_bjoern.py MODULE:ATTRIBUTE PORT."""

import importlib
import sys

import bjoern  # type: ignore[import-not-found, unused-ignore]

module, attribute = sys.argv[1].split(":")
bjoern.run(getattr(importlib.import_module(module), attribute), "127.0.0.1", int(sys.argv[2]))
