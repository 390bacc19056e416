"""Codes of warnings and errors, which stay what they are from version to version; what each means is docs/errors.md.

The ground of all packages: it imports nothing of ours. A worker has the numbers, and none of the texts.
"""

from .code import Code

__all__ = ["Code"]
