"""Keeps two runs from sharing the run-time folders of ``dev/``."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.errors import HarnessError


class AlreadyRunningError(HarnessError):
    """Another ``make demo`` or ``make up`` uses this checkout."""


@contextmanager
def run_lock(file: Path) -> Iterator[None]:
    """Hold the lock for the block; the system lets go of it even if this process is killed.

    Raises :class:`AlreadyRunningError` if another process holds it.
    """
    with file.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise AlreadyRunningError(
                f"Another `make demo` or `make up` is running in this checkout as process {stream.read().strip()}. "
                "Stop it with Ctrl-C in its terminal, then start again."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
