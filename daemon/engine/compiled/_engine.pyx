# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""The compiled engine: the plain one with its usual path overridden. See the package's docstring."""

from ..plain import Conversation as Plain


class Conversation(Plain):
    """One client's, over a socket. See `contract.Conversation`."""

    engine = "compiled"

    __slots__ = ()
