"""A Docker engine: the one that runs, or one that is started for the time of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.commands import CommandError, succeeds
from dev.processes import tail
from dev.progress import Progress
from dev.waiting import wait_until

START_SECONDS = 60


@contextmanager
def running_engine(progress: Progress) -> Iterator[None]:
    """A running engine; one that was started here is ended here."""
    if succeeds("docker", "info"):
        yield
        return
    if shutil.which("dockerd") is None or os.geteuid():
        raise CommandError(
            "No Docker engine is running. Start one; on Debian: apt-get install docker.io docker-compose debootstrap"
        )
    progress.say("Starting a Docker engine for the time of the test")
    with tempfile.NamedTemporaryFile(prefix="dockerd-", suffix=".log") as log:
        engine = subprocess.Popen(["dockerd"], stdout=log, stderr=log)
        try:
            wait_until(
                lambda: engine.poll() is not None or succeeds("docker", "info"),
                timeout=START_SECONDS,
                message=lambda: f"dockerd did not start. The end of its log:\n{tail(Path(log.name))}",
                error=CommandError,
            )
            if engine.poll() is not None:
                raise CommandError(f"dockerd ended. The end of its log:\n{tail(Path(log.name))}")
            yield
        finally:
            engine.terminate()
            engine.wait(60)
