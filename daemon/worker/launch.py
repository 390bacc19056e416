"""What the master executes, by its path and with the application's own interpreter: the beginning of a launcher.

miniwsgi need not be installed for that interpreter: a synthetic package points at our own folders. They cannot simply
be put on sys.path, where daemon/http would hide the standard library's http; for the same reason this is run with -P.
A file, and not a program in -c, so that ps and `systemctl status` show what runs here in a line. Its place and its
arguments are to stay: after an upgrade a master of the older version executes that of the newer one, and is told so.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType


def package(name: str, path: str = "") -> ModuleType:
    """A package whose modules are in the folder `path`; or one that is nowhere and has subpackages alone."""
    if path:
        spec = spec_from_file_location(name, f"{path}/__init__.py", submodule_search_locations=[path])
    else:
        spec = ModuleSpec(name, None, is_package=True)
    assert spec is not None, path
    module = sys.modules[name] = module_from_spec(spec)
    if spec.loader is not None:
        spec.loader.exec_module(module)
    return module


def packages(folder: str) -> None:
    """Make what workers are made of importable from the folder that it is in."""
    root = package("miniwsgi")
    for name in ("codes", "daemon", "metrics"):
        setattr(root, name, package(f"miniwsgi.{name}", f"{folder}/{name}"))


def begin() -> None:
    """Arguments: the application, for people who look at processes; the channel's descriptor; a note."""
    _application, channel, note = sys.argv[1:]
    folder = __file__.rpartition("/daemon/worker/")[0]
    del globals()["__file__"]  # processes that the application spawns would import this as their main module
    packages(folder)
    from miniwsgi.daemon.worker.launcher import main

    main(int(channel), note)


if __name__ == "__main__":
    begin()
