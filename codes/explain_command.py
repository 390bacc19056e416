"""The command `explain`, which both programs have: it asks no daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Explain(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write(self.epilog or "")


def explain_command(program: str, exit_statuses: str) -> click.Command:
    """For `program`, whose help ends with its exit statuses."""
    return _Explain(
        "explain",
        callback=_explain,
        params=[
            click.Argument(["codes"], metavar="CODE…", nargs=-1, shell_complete=_complete),
            click.Option(["--list", "every"], is_flag=True, help="List all codes, each with its cause in a line."),
        ],
        help="Explain a warning or an error by its code.\n\n"
        "The code stands before the message, such as MW3012. What it tells is cause, consequence and remedy, the same "
        "as docs/errors.md has; no daemon is asked.",
        epilog=f"""\
Examples:
  {program} explain MW3012
  {program} explain --list

{exit_statuses}""",
    )


def _explain(codes: tuple[str, ...], every: bool) -> None:
    from .explanations import explanations

    known = explanations()
    if every:
        for code, one in known.items():
            click.echo(f"{code}  {one.title}")
    elif codes:
        click.echo("\n\n".join(str(known[_known(text)]) for text in codes))
    else:
        raise click.UsageError("which code? It stands before the message; --list has them all.")


def _known(text: str) -> str:
    from .explanations import code_of

    code = code_of(text)
    if code is None:
        raise click.BadParameter(f"there is no code {text}; --list has them all.", param_hint="CODE")
    return str(code)


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The codes, with their titles."""
    from click.shell_completion import CompletionItem

    from .explanations import explanations

    wanted = incomplete.upper()
    return [CompletionItem(code, help=one.title) for code, one in explanations().items() if code.startswith(wanted)]
