"""PostgreSQL as Debian packages it, in a folder of the tests' own; `apt-get install postgresql` brings it."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server, which trusts whoever comes over the loopback interface."""

    port: int
    folder: Path
    binaries: Path

    def connect(self, user: str = "postgres", *, autocommit: bool = False) -> Any:
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, dbname="postgres", autocommit=autocommit)


def binaries() -> Path | None:
    """Where the newest installed server's programs are; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def running(programs: Path, *, durable: bool = False) -> Iterator[Server]:
    """A server with an empty database; `durable` is with fsync. It does not run as root, so root's tests start it as the user
    `postgres`."""
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="sfcc-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            import shutil

            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
        initdb: list[Any] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, **quiet)
        port = _free_port()
        fsync = "on" if durable else "off"
        options = f"-c listen_addresses=127.0.0.1 -c fsync={fsync} -c unix_socket_directories={folder} -p {port}"
        control: list[Any] = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet)
        try:
            yield Server(port, folder, programs)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=False, **quiet)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
