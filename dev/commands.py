"""Commands that are run and judged by their exit code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.errors import HarnessError
from dev.paths import ROOT


class CommandError(HarnessError):
    """A command failed; the message ends with the end of its output."""


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float = 900,
    stdin: int | None = None,
) -> str:
    """A command's standard output. Raises CommandError when it fails or takes longer than `timeout` seconds."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=stdin,
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as problem:
        raise CommandError(f"{' '.join(command[:4])} could not be run: {problem}") from None
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise CommandError(f"{' '.join(command[:6])} ended with exit code {done.returncode}:\n{output}")
    return done.stdout


def succeeds(*command: str, timeout: float = 60) -> bool:
    try:
        run(*command, timeout=timeout)
    except CommandError:
        return False
    return True
