"""Why an import cannot be made."""

from __future__ import annotations


class ImportTrouble(Exception):
    """What was given cannot be read, or is not understood: the text says what, where, and what to do."""
