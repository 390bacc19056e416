"""`top` on a terminal: draws the model, reads keys, and leaves the terminal as it found it whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from types import FrameType

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live

from ... import messages
from ..client import Client
from ..exit_statuses import Complaint, ExitStatus
from ..options import Session
from ..views import stack_view
from . import keyboard as keys
from .feed import Feed, Lost, Order, Said, Shown, Taken, Update
from .model import PANES, Message, Model, Page, Pane, Snapshot
from .view import HELP, SMALLEST, draw, text_lines, wrapped

FAR = 1_000_000  # lines
MESSAGE_SECONDS = 8.0  # that the line at the bottom says what was done
LEAVE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(session: Session, interval_seconds: float) -> None:
    """Until the user leaves. Raises TransportError or RequestRefused if there is no daemon to begin with."""
    console = Console(no_color=not session.colour or None, highlight=False)
    if console.is_dumb_terminal:
        term = os.environ.get("TERM")
        raise Complaint(ExitStatus.USAGE, "", f"top needs a terminal whose cursor can be moved; TERM is {term}")
    with session.client() as client:
        first = Snapshot(client.status().value, client.workers().value.workers)
    screen = Screen(console, session, interval_seconds)
    screen.model.see(first)
    number = screen.run()
    if number not in {0, signal.SIGINT}:  # Ctrl-C is one of the ways to leave
        raise SystemExit(128 + number)


class Screen:
    """The loop: whatever wakes it (a key, an update, a signal, a second gone by), it draws anew."""

    def __init__(self, console: Console, session: Session, interval_seconds: float) -> None:
        self.model = Model()
        self._console = console
        self._path = session.path
        self._end = session.end
        self._updates: SimpleQueue[Update] = SimpleQueue()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._feed = Feed(session.path, interval_seconds, self._publish)
        self._message_until = 0.0
        self._asked: Order = Client.reload  # what the model's question is about
        self._asked_of: tuple[int, int | None] | None = None  # the slot and pid that it is about
        self._signal = 0  # that it is to leave for, or to be suspended

    def _publish(self, update: Update) -> None:
        """Called in the feed's thread."""
        self._updates.put(update)
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b".")
        except OSError:
            pass  # full: it is awake, or about to be

    # --- the loop ---

    def run(self) -> int:
        """The signal that it left for, or 0. Raises Complaint when time is up."""
        with ExitStack() as stack:
            stack.enter_context(_signals(self._on_signal))
            stack.callback(self._feed.stop)
            self._feed.start()
            while True:
                try:
                    self._show()
                except (OSError, termios.error):
                    if self._signal != signal.SIGHUP:  # with the terminal gone, nothing of it is to be mended
                        raise
                if self._signal != signal.SIGTSTP:
                    return self._signal
                self._signal = 0
                os.kill(os.getpid(), signal.SIGSTOP)  # the terminal being as it was; goes on here with SIGCONT

    def _show(self) -> None:
        """Take the terminal, and give it back."""
        with _keys_one_by_one(), Live(console=self._console, screen=True, auto_refresh=False) as live:
            try:
                self._turn(live)
            finally:
                self._console.control(Control.clear(), Control.home())  # tmux keeps lines of a resized screen

    def _turn(self, live: Live) -> None:
        while not self._signal:
            self._draw(live)
            ready, _, _ = select.select([sys.stdin, self._wake_read], [], [], 1.0)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._take_updates()
            if sys.stdin in ready and not self._take_keys():
                return
            if self._end is not None and time.monotonic() >= self._end:
                raise Complaint(ExitStatus.TIMED_OUT, "", "top ended after --timeout")

    def _draw(self, live: Live) -> None:
        if self.model.message.said and time.monotonic() > self._message_until:
            self.model.message = Message("")
        width, height = self._size()
        self._console.size = (width, height)
        lines = draw(self.model, width, height, self._path, time.strftime("%H:%M:%S"))
        for line in lines:
            line.no_wrap, line.overflow = True, "crop"
        live.update(Group(*lines), refresh=True)

    def _size(self) -> tuple[int, int]:
        """Of the terminal, now; $COLUMNS and $LINES do not know of a resize."""
        try:
            return os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24

    def _take_updates(self) -> None:
        while True:
            try:
                update = self._updates.get_nowait()
            except Empty:
                return
            match update:
                case Snapshot():
                    self.model.see(update)
                    self._check_question()
                case Lost():
                    self.model.lose(update.why)
                case Said():
                    self._say(update)
                case Shown():
                    self.model.open_text(update.title, update.text)
                case Taken():
                    self._taken(update.stack)

    def _taken(self, stack: messages.Stack) -> None:
        model = self.model
        if model.page is Page.WORKER and stack.slot == model.selected:
            model.stack = stack
        elif model.page is Page.MAIN:
            model.open_text(f"worker {stack.slot}, pid {stack.pid}", "\n".join(stack_view.lines(stack)[1:]))

    def _on_signal(self, number: int) -> None:
        """Called by the handler: the loop acts on it, wherever it was."""
        if number != signal.SIGWINCH:
            self._signal = number
        self._wake()

    # --- keys ---

    def _take_keys(self) -> bool:
        """False: leave."""
        try:
            data = os.read(sys.stdin.fileno(), 1024)
        except OSError:
            data = b""  # the terminal is gone
        if not data:
            return False
        return all(self._press(key) for key in keys.parse(data))

    def _press(self, key: str) -> bool:
        model = self.model
        if model.question:
            model.question, order = "", self._asked
            if key == "y":
                self._feed.order(order)
            return True
        if model.page is Page.WORKER:
            return self._press_on_worker(key)
        if model.typing:
            model.type(key)
            return True
        if model.page is Page.TEXT and (by := self._scrolled_by(key)):
            width, height = self._size()
            model.scroll(by, len(wrapped(model.text, width)) - text_lines(height))
            return True
        if model.page is not Page.MAIN:
            model.page = Page.MAIN
            return True
        match key:
            case "q":
                return False
            case "?" | "h":
                model.open_text("miniwsgictl top", HELP)
            case "/":
                model.typing = True
            case keys.ESCAPE:
                model.type(key)
            case "p" | " ":
                model.pause()
            case keys.TAB | keys.BACK_TAB | "1" | "2" | "3":
                self._change_pane(key)
            case keys.ENTER:
                self._open_worker()
            case "s":
                model.next_sort()
            case "S":
                model.reversed = not model.reversed
            case keys.UP | "k":
                model.move(-1)
            case keys.DOWN | "j":
                model.move(1)
            case keys.PAGE_UP | keys.PAGE_DOWN:
                model.move(-SMALLEST[1] if key == keys.PAGE_UP else SMALLEST[1])
            case keys.HOME | keys.END:
                model.move(-FAR if key == keys.HOME else FAR)
            case "+" | "=" | "-":
                request = messages.ScaleRequest(workers="-1" if key == "-" else "+1")
                more = "one worker fewer" if key == "-" else "one worker more"
                self._ask(f"{more} than {model.target()}?", lambda client: client.scale(request))
            case "R":
                self._ask("reload code and configuration?", Client.reload)
            case "r" | "d" | "K":
                self._order_for_selected(key)
        return True

    def _change_pane(self, key: str) -> None:
        if key.isdigit():
            self.model.show_pane(PANES[int(key) - 1])
        else:
            self.model.next_pane(-1 if key == keys.BACK_TAB else 1)
        self._feed.pane = self.model.pane
        self._feed.look()

    def _open_worker(self) -> None:
        if self.model.pane is Pane.WORKERS and self.model.selected_worker() is not None:
            self.model.open_worker()
            self._order_for_selected("d")

    def _press_on_worker(self, key: str) -> bool:
        """On the page of one worker: scroll, take its stacks anew, restart it; whatever else leads back."""
        model = self.model
        if by := self._scrolled_by(key):
            model.scroll(by, FAR)
        elif key in {"d", "r", "K", keys.ENTER}:
            self._order_for_selected(key)
        else:
            model.leave_worker()
        return True

    def _ask(self, question: str, order: Order, of: tuple[int, int | None] | None = None) -> None:
        """What changes something is ordered once the next key has said so."""
        self.model.question, self._asked, self._asked_of = question, order, of

    def _check_question(self) -> None:
        """A slot whose worker has been replaced meanwhile is not the one that was asked about."""
        if self.model.question and self._asked_of is not None:
            slot, pid = self._asked_of
            if self.model.pid_now(slot) != pid:
                self.model.question = ""
                self._say(Said(f"worker {slot} is no longer pid {pid}: nothing was done", bad=True))

    def _say(self, said: Said) -> None:
        self.model.message = Message(said.text, said.bad)
        self._message_until = time.monotonic() + MESSAGE_SECONDS

    def _order_for_selected(self, key: str) -> None:
        """K: its end; r: a restart; every other key: its stacks."""
        worker = self.model.selected_worker()
        if worker is None:
            return
        slot, pid = worker.slot, self.model.pid_now(worker.slot)
        if key == "K":
            asked = f"kill worker {slot} (pid {pid}) with what it runs?"
            self._ask(asked, lambda client: client.restart(slot, "now"), (slot, pid))
        elif key == "r":
            self._ask(f"restart worker {slot} (pid {pid})?", lambda client: client.restart(slot), (slot, pid))
        else:
            self._feed.order(lambda client: client.stack(slot))

    def _scrolled_by(self, key: str) -> int:
        page = text_lines(self._size()[1])
        steps = {keys.UP: -1, "k": -1, keys.DOWN: 1, "j": 1, keys.PAGE_UP: -page, keys.PAGE_DOWN: page, " ": page}
        return {**steps, keys.HOME: -FAR, keys.END: FAR}.get(key, 0)


# --- the terminal -------------------------------------------------------------------------------------------------


@contextmanager
def _keys_one_by_one() -> Iterator[None]:
    """Each key at once and unseen; signals from the keyboard stay."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


@contextmanager
def _signals(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Tell of those that end or suspend a program, and of a resize, instead of what they do by themselves."""

    def handle(number: int, _frame: FrameType | None) -> None:
        on_signal(number)

    before = {number: signal.signal(number, handle) for number in (*LEAVE, signal.SIGTSTP, signal.SIGWINCH)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
