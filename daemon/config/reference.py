"""The reference of all configuration keys as Markdown: docs/configuration.md is what this prints."""

from __future__ import annotations

from . import static_files
from .binds import OPTIONS
from .declaration import Key
from .keys import KEYS, SECTIONS
from .platform import PLATFORM_VARIABLES
from .static_files import STATIC

HEAD = """\
# Configuration

<!-- Made by `miniwsgi config --reference` from the declarations in daemon/config/keys.py. -->

miniwsgi is configured by a TOML file, by flags, by environment variables, or by any mix of them. From weakest
to strongest: default, [platform variable](#platform-variables), file, environment variable, flag. Which file:

1. `-c FILE`, or `$MINIWSGI_CONFIG`;
2. else that of the project: `miniwsgi.toml`, or `pyproject.toml` if it has `[tool.miniwsgi]`, in the current
   directory, or in `DIR` for `miniwsgi serve DIR/`;
3. else `/etc/miniwsgi/miniwsgi.toml`, unless an argument or a variable names the application: `miniwsgi serve
   shop.wsgi` needs no file.

```toml
[app]
module = "shop.wsgi:application"
directory = "/srv/shop"
python = "/srv/shop/venv/bin/python"
env = { DJANGO_SETTINGS_MODULE = "shop.settings" }
env_files = ["/etc/shop/env"]

[server]
bind = ["0.0.0.0:8000", "unix:/run/miniwsgi/http.sock"]
workers = 4

[timeouts]
request = "30s"

[log]
access_log = "-"
```

In a `pyproject.toml` the same tables stand below `[tool.miniwsgi]`, and `app.directory` is by default where that is:

```toml
[tool.miniwsgi.app]
factory = "shop:create_app('production')"

[tool.miniwsgi.server]
workers = 4
```

`miniwsgi config` prints the effective configuration and where each value comes from, secrets masked.
`miniwsgi check` validates it and imports the application, without serving.

## How values are written

- **size**: bytes as a number, or a text such as `"16 KiB"`, `"100 MiB"`, `"1 GB"`. `KiB`, `MiB`, `GiB` and
  `K`, `M`, `G` are powers of 1024; `KB`, `MB`, `GB` of 1000.
- **duration**: seconds as a number, or a text such as `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"1d"`.
- **octal text**: permission bits as a text, such as `"0660"`.
- **list**: `["one", "two"]`; a single text stands for a list of one.
- **path**: a relative path in a file starts at the directory of that file; in a flag or an environment variable,
  at the directory in which miniwsgi was started. `~` is the home directory. Symbolic links are kept, so that
  `directory = "/srv/shop/current"` follows a deployment at the next reload.
- **off**: where it is accepted, `"off"`, `false`, `0` and `""` mean the same: no limit, or that there is none of it.
  Where it is not, `"off"` is refused, and `0` is a number like any other.

**Flags** take the same texts: `--workers 4`, `--bind :8000 --bind unix:shop.sock`. Every key can be set by
`--set SECTION.KEY=VALUE`. A flag replaces the file's value; only `--env` adds to the file's table.

**Environment variables** are named after the key: `MINIWSGI_SERVER_WORKERS=4`, `MINIWSGI_TIMEOUTS_REQUEST=30s`.
Commas separate the items of a list. `app.env` has none.

## What is served

`shop.wsgi:application` is the object `application` of the module `shop.wsgi`, which is imported from `app.directory`.
`./shop.py:app` is the object `app` in a file, which is imported from the directory that it is in, or, in a package,
from the one above the package. Like other paths, it starts at the directory of the configuration file, or where
miniwsgi was started. Without `:NAME` the first of `application`, `app` and `wsgi` is served, else what `create_app()`
or `make_app()` returns, and the log says which it was; a file that has several of the first three, which are not the
same object, is refused.

`shop:create_app("x", debug=False)` is a call, with or without `--factory`: its arguments are literals (texts, numbers,
`True`, `False`, `None`, and lists, tuples, sets and dicts of them). They are shown where the application's name is, in
logs and in `ps`: secrets belong into `app.env_files`.

## Platform variables

Hosting platforms tell any server by the same few variables what to do. Each counts if nothing that is miniwsgi's own
sets the key: no file, no `MINIWSGI_` variable, no flag. An empty one is none. Under systemd they are rarely set.

{platform}

`GUNICORN_CMD_ARGS` is not obeyed, and the log says so.

## Addresses with options

An entry of `server.bind` is a text, the address, or a table:

```toml
[server]
bind = [
    "127.0.0.1:8000",
    { address = "0.0.0.0:8080", proxy_protocol = true },
]
```

{options}

A flag and an environment variable take the texts, or one table, as `--bind '{ address = ":8443", certificate =
"/tls/shop.pem" }'`; `"uwsgi:ADDRESS"` is the text for `protocol = "uwsgi"`. An entry is
known by its address: a reload that changes its options keeps the socket, and clients notice nothing. In messages the
entries are counted from 0: `server.bind[1].proxy_protocol` is an option of the second.

## Mistakes and reloads

**Mistakes** are all reported at once, each with its key, its value and what was expected. At start nothing is
started then (exit status 2); at a reload the running configuration stays.

**A reload** reads the file, `app.env_files` and `metrics.token_file` again. It can change everything but
`server.user`, `server.group`, `[control]`, `metrics.bind`, and `server.pool` from or to `single`: a reload that
would change these fails and says so, as they need a restart.

## Environment files

`app.env_files` are files of `NAME=value` lines. Empty lines and lines that begin with `#` are skipped; `export `
before the name is allowed. A value may stand in single quotes (taken as it is) or in double quotes (`\\n`, `\\t`,
`\\"` and `\\\\` are understood); quoted values may span lines. A value without quotes ends with the line, or
before ` #`. Nothing is expanded: `$` is a dollar sign.

The application's environment is the daemon's, without what is the daemon's own (`VIRTUAL_ENV`, `NOTIFY_SOCKET`,
`WATCHDOG_*`, `LISTEN_*`), then `env_files`, then `env`. With `server.user`, `HOME`, `USER` and `LOGNAME` are that
user's. The daemon's `PYTHON*` (`PYTHONPATH`, `PYTHONUNBUFFERED`, …) belong to its interpreter: they are passed on if
`app.python` is of the same environment (has the same `sys.prefix`), as by default, and if not, a line of the log names
those that are not. Relative paths in `PYTHONPATH` start at the directory in which miniwsgi was started.
"""

STATIC_HEAD = """\
Files that the server answers with by itself, before the application: [static.md](static.md). A table for each prefix:

```toml
[[static]]
path = "/static/"
directory = "/srv/shop/static"
cache = { "*.html" = "no-cache", "*" = "public, max-age=31536000, immutable" }
```

`--static /static/=DIR` and `MINIWSGI_STATIC=/static/=DIR` stand for a table with `path` and `directory`. Mistakes name
the table, counted from 0, and its option: `static[1].directory`.

"""
TABLE_HEAD = "| Key | Value | Default | What it is |\n|---|---|---|---|\n"


def reference() -> str:
    """The whole page."""
    rows = (f"| `{one.name}` | `{one.path}` | {one.doc} |" for one in PLATFORM_VARIABLES)
    head = HEAD.replace("{platform}", "\n".join(("| Variable | Key | What it means |", "|---|---|---|", *rows)))
    options = "".join((TABLE_HEAD.replace("Key", "Option", 1), *map(_row, OPTIONS.values()))).rstrip("\n")
    parts = [head.replace("{options}", options)]
    for section, kind in SECTIONS.items():
        summary = (kind.__doc__ or "").splitlines()[0]
        parts.append(f"\n## [{section}]\n\n{summary}\n\n")
        parts.append(TABLE_HEAD)
        parts += [_row(key) for key in KEYS.values() if key.section == section]
    parts.append(f"\n## [[{STATIC.path}]]\n\n{STATIC_HEAD}")
    parts += [TABLE_HEAD, _row(STATIC), *map(_row, static_files.OPTIONS.values())]
    return "".join(parts)


def _row(key: Key) -> str:
    flag = f"<br>`{key.flag}`" if key.flag else ""
    accepts = key.kind.accepts()
    value = f"{key.kind.name}{', ' if accepts.startswith('or ') else ': ' if accepts else ''}{accepts}"
    default = key.computed or f"`{key.kind.show(key.default)}`"
    return f"| `{key.path}`{flag} | {value} | {default} | {_escaped(key.doc)} |\n"


def _escaped(text: str) -> str:
    """A `|` ends a cell, and a `*` before a name begins emphasis."""
    return text.replace("|", "\\|").replace("*", "\\*")
