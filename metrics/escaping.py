"""How text is written in expositions (see metrics.exposition). Imports nothing: a process that lives for one merge of
the application's metrics uses it, too.
"""

from __future__ import annotations


def escaped(value: str) -> str:
    """A label's value in both formats, and HELP of OpenMetrics."""
    if "\\" in value or '"' in value or "\n" in value:
        value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def escaped_help(text: str) -> str:
    """HELP of the text format, whose quotes stay as they are."""
    return text.replace("\\", r"\\").replace("\n", r"\n")
