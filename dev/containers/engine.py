"""A Docker engine: the one that runs, or one that is started for the time of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dev.containers.shell import CommandError, succeeds

START_SECONDS = 60


@contextmanager
def running_engine() -> Iterator[None]:
    """An engine that answers; one that was started here is ended here."""
    if succeeds("docker", "info"):
        yield
        return
    if shutil.which("dockerd") is None or os.geteuid():
        raise CommandError(
            "No Docker engine answers. Start one; on Debian: apt-get install docker.io docker-compose debootstrap"
        )
    print("==> Starting a Docker engine for the time of the test", flush=True)
    with tempfile.NamedTemporaryFile(prefix="dockerd-", suffix=".log") as log:
        engine = subprocess.Popen(["dockerd"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not succeeds("docker", "info"):
                if engine.poll() is not None or time.monotonic() > deadline:
                    raise CommandError(f"dockerd did not start; the end of its log: {log.name}")
                time.sleep(1)
            yield
        finally:
            engine.terminate()
            engine.wait(60)
