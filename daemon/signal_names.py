"""What signals are called: real-time ones (signal(7)) have no name in Python, but for the first and the last."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """As `SIGKILL`, or `signal 40`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
