"""Bytes from a terminal in, keys out: printable characters as themselves, the others by name."""

from __future__ import annotations

UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END, ESCAPE, ENTER, TAB, BACK_TAB, BACKSPACE = (
    "up",
    "down",
    "page up",
    "page down",
    "home",
    "end",
    "esc",
    "enter",
    "tab",
    "back tab",
    "backspace",
)

KEYS_HELP = """\
q, Ctrl-C      quit
Up, Down       select a worker, scroll (also k, j)
Enter          the selected worker: its threads, requests and stacks
Tab, 1, 2, 3   workers, routes, events
/              filter rows as you type; Enter keeps it, Esc shows all
p              pause the screen, go on
s, S           sort by the next column, the other way round
d              what the selected worker is doing: its stacks
+, -           one worker more, one fewer
r              restart the selected worker: a new one is ready first
K              kill it with what it runs; its stacks are logged
R              reload code and configuration
?              help
"""

# What terminals send: in normal and in application mode (console_codes(4), and xterm's ctlseqs)
_SEQUENCES = {
    b"\x1b[A": UP,
    b"\x1bOA": UP,
    b"\x1b[B": DOWN,
    b"\x1bOB": DOWN,
    b"\x1b[5~": PAGE_UP,
    b"\x1b[6~": PAGE_DOWN,
    b"\x1b[H": HOME,
    b"\x1bOH": HOME,
    b"\x1b[1~": HOME,
    b"\x1b[F": END,
    b"\x1bOF": END,
    b"\x1b[4~": END,
    b"\x1b[Z": BACK_TAB,
}
_FINAL = range(0x40, 0x7F)  # the byte that ends a control sequence (ECMA-48, section 5.4)


def parse(data: bytes) -> list[str]:
    """The keys in what was read at once. Sequences that nobody knows are skipped."""
    found = []
    while data:
        sequence = _sequence(data)
        if sequence is not None:
            data = data[len(sequence) :]
            if key := _SEQUENCES.get(sequence):
                found.append(key)
            continue
        code, data = data[0], data[1:]
        if code == 0x1B:
            found.append(ESCAPE)
        elif code in b"\r\n":
            found.append(ENTER)
        elif code == 0x09:
            found.append(TAB)
        elif code in {0x08, 0x7F}:
            found.append(BACKSPACE)
        elif 0x20 <= code < 0x7F:
            found.append(chr(code))
    return found


def _sequence(data: bytes) -> bytes | None:
    """The escape sequence that `data` begins with."""
    if data[:2] == b"\x1bO":
        return data[:3]
    if data[:2] != b"\x1b[":
        return None
    for index in range(2, len(data)):
        if data[index] in _FINAL:
            return data[: index + 1]
    return data
