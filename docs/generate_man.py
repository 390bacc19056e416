"""Write the man pages in docs/man from the commands' own help: `python docs/generate_man.py`.

One page for each program, one for each of its commands. What the help says is all that they say; they differ only when
the help does. With --check, nothing is written and the exit status is 1 if a page is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

DIRECTORY = Path(__file__).parent / "man"
HEADING = re.compile(r"^([A-Z][^\n]*):$")
ROW = re.compile(r"^  (\S+(?: \S+)*)  +(\S.*)$")
FILES = {
    "miniwsgi": (("/etc/miniwsgi/miniwsgi.toml", "The configuration, unless another one is named."),),
    "miniwsgictl": (
        ("/run/miniwsgi/control.sock", "The control socket of the daemon that has no name."),
        ("/run/miniwsgi/NAME/control.sock", "That of the instance NAME."),
        ("$XDG_RUNTIME_DIR/miniwsgi/control.sock", "That of a daemon that a user runs."),
    ),
}


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    from miniwsgi.daemon.cli.commands import commands as daemon
    from miniwsgi.manager.client.cli import commands as control

    found = {}
    for program, group, other in (("miniwsgi", daemon, "miniwsgictl"), ("miniwsgictl", control, "miniwsgi")):
        found |= {f"{name}.1": page for name, page in _with_commands(program, group, [other])}
    return found


def _with_commands(words: str, command: click.Command, others: list[str]) -> Iterator[tuple[str, str]]:
    """The command's page and those of its commands, by name."""
    name = words.replace(" ", "-")
    commands = command.commands if isinstance(command, click.Group) else {}
    yield name, "".join(_page(words, command, [*(f"{name}-{child}" for child in commands), *others]))
    for child, found in commands.items():
        yield from _with_commands(f"{words} {child}", found, [name])


def _page(words: str, command: click.Command, related: list[str]) -> Iterator[str]:
    """A page in man(7)'s macros, line by line."""
    name = words.replace(" ", "-")
    summary, *paragraphs = _paragraphs(command.help or "")
    yield '.\\" Written by docs/generate_man.py from the help of the command: change that.\n'
    yield f'.TH {_text(name.upper())} 1 "" "miniwsgi" "User Commands"\n'
    yield ".ad l\n"  # no stretched lines
    yield f".SH NAME\n{_text(name)} \\- {_text(summary.rstrip('.'))}\n"
    yield f".SH SYNOPSIS\n{_synopsis(words, command)}"
    yield ".SH DESCRIPTION\n" + ".PP\n".join(f"{_text(paragraph)}\n" for paragraph in paragraphs or [summary])
    if isinstance(command, click.Group):
        yield ".SH COMMANDS\n"
        for child, found in command.commands.items():
            yield f".TP\n.BR {_text(f'{name}-{child}')} (1)\n{_text(_paragraphs(found.help or '')[0])}\n"
    yield from _options(command)
    yield from _epilogue(command.epilog or "")
    if words in FILES:
        yield ".SH FILES\n"
        for path, said in FILES[words]:
            yield f".TP\n.I {_text(path)}\n{_text(said)}\n"
    yield ".SH SEE ALSO\n"
    yield ",\n".join(f".BR \\%{_text(page)} (1)" for page in related) + "\n"


def _paragraphs(help_text: str) -> list[str]:
    """Each in one line."""
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", help_text.strip())]


def _synopsis(words: str, command: click.Command) -> str:
    """The command in bold, what is to be replaced in italics."""
    parts = [f"\\fB{_text(words)}\\fR", "[\\fIOPTION\\fR ...]"]
    if isinstance(command, click.Group):
        parts += ["\\fICOMMAND\\fR", "[\\fIARGUMENT\\fR ...]"]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            parts.append(re.sub(r"[A-Z][A-Z:]*", r"\\fI\g<0>\\fR", _text(parameter.metavar or "")))
    return " ".join(parts) + "\n"


def _options(command: click.Command) -> Iterator[str]:
    """By their groups, as the help has them."""
    groups: dict[str, list[click.Option]] = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            heading = getattr(parameter, "group", "")
            groups.setdefault(heading if heading != "Other" else "", []).append(parameter)
    if not groups:
        return
    yield ".SH OPTIONS\n"
    for heading, options in sorted(groups.items(), key=lambda item: item[0] != ""):
        if heading:
            yield f".SS {_text(heading)}\n"
        for option in options:
            yield f".TP\n{_option(option)}\n{_text(' '.join((option.help or '').split()))}\n"


def _option(option: click.Option) -> str:
    names = sorted((*option.opts, *option.secondary_opts), key=lambda name: name.startswith("--"))
    said = ", ".join(f"\\fB{_text(name)}\\fR" for name in names)
    return said if option.is_flag else f"{said} \\fI{_text(option.metavar or '')}\\fR"


def _epilogue(epilog: str) -> Iterator[str]:
    """The blocks below the options: a heading that ends with a colon, then rows of two columns or lines to type."""
    heading, block = "", list[str]()
    for line in [*epilog.splitlines(), ":"]:
        found = HEADING.match(line)
        if not found and line != ":":
            block.append(line)
            continue
        if heading:
            yield f".SH {_text(heading.upper())}\n"
            yield from _block([line for line in block if line.strip()])
        heading, block = found[1] if found else "", []


def _block(lines: list[str]) -> Iterator[str]:
    rows = [ROW.match(line) for line in lines]
    if all(rows):
        for row in rows:
            assert row is not None
            yield f".TP\n\\fB{_text(row[1])}\\fR\n{_text(row[2])}\n"
        return
    for line in lines:
        indented = line.startswith("      ")
        yield f".RS 4\n{_text(line.strip())}\n.RE\n" if indented else f".PP\n.EX\n{_text(line.strip())}\n.EE\n"


def _text(said: str) -> str:
    """With what troff would take for its own escaped (groff_char(7)): hyphens that are typed are minus signs."""
    said = said.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    said = said.replace("^", "\\(ha").replace("~", "\\(ti").replace("…", "...").replace("×", "x")
    return f"\\&{said}" if said[:1] in {".", "'"} else said


def main() -> int:
    """Write what has changed, remove what is no more; or with --check only tell."""
    wanted = pages()
    DIRECTORY.mkdir(exist_ok=True)
    found = {path.name: path.read_text("utf-8") for path in DIRECTORY.glob("*.1")}
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/man/{name} is not what the help says: python docs/generate_man.py")
        return 1 if stale else 0
    for name in stale:
        if name in wanted:
            (DIRECTORY / name).write_text(wanted[name], "utf-8")
        else:
            (DIRECTORY / name).unlink()
        print(f"docs/man/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
