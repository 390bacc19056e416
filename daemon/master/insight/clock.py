"""Whether the kernel believes that the clock is right: adjtimex(2), which Python does not have."""

from __future__ import annotations

import ctypes
import struct

UNSYNCHRONISED = 0x40  # STA_UNSYNC
STATUS = struct.Struct("@Illlli")  # the beginning of struct timex: modes, offset, freq, maxerror, esterror, status
TIMEX_BYTES = 512  # the whole of it has 208


def is_synchronised() -> bool | None:
    """None: the system does not tell."""
    timex = ctypes.create_string_buffer(TIMEX_BYTES)  # modes 0: nothing is set
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else not STATUS.unpack_from(timex)[5] & UNSYNCHRONISED
