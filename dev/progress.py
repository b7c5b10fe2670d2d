"""Says what is being done and how far it is, in a terminal (a spinner) as well as in a CI log (plain lines)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

HEARTBEAT_SECONDS = 10.0


class Progress:
    """Prints lines that start with the seconds since the start, and remembers how long each step took."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def say(self, text: str, style: str = "") -> None:
        """One line; ``text`` is printed as it is, brackets included."""
        line = Text(f"[{self.elapsed():6.1f} s] ", style="dim")
        self.console.print(line.append(text, style=style or "not dim"))

    def show(self, table: Table) -> None:
        self.console.print(table, soft_wrap=False)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step with its beginning, its signs of life, and how it ended and after how many seconds."""
        started = time.monotonic()
        try:
            with self._sign_of_life(title, started):
                yield
        except BaseException:
            self.say(f"✗ {title}: stopped after {time.monotonic() - started:.1f} s", "red")
            raise
        self.seconds[title] = time.monotonic() - started
        self.say(f"✓ {title} ({self.seconds[title]:.1f} s)", "green")

    @contextmanager
    def _sign_of_life(self, title: str, started: float) -> Iterator[None]:
        if self.console.is_terminal:
            with self.console.status(Text(f"{title} …")):
                yield
            return
        self.say(f"{title} …")
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                self.say(f"{title} … {time.monotonic() - started:.0f} s")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
