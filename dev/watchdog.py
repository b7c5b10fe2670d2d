"""Ends the processes of one folder when the process that started them is gone: ``python -m dev.watchdog HOME``.

That process holds the other end of our standard input and never writes to it, so reading ends when it ends, whatever
ended it: a signal that no Python code sees cannot leave an Airflow behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dev.processes import ProcessGroup, stop_on_signals


def main(home: Path) -> None:
    group = ProcessGroup(home, home / "logs")
    try:
        stop_on_signals()
        sys.stdin.read()
    finally:
        group.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
