"""`make sample-test`: the sample project's tests in a clean environment that has the built wheel installed, timed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 60


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sfcc-sample-") as name:
        folder = Path(name)
        print("==> Building the wheel and installing it where nothing else is", flush=True)
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=ROOT)
        _run(
            sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=ROOT / "localorg"
        )
        (wheel,) = (folder / "dist").glob("airflow_sfcc-*.whl")
        (localorg,) = (folder / "dist").glob("salesforce_localorg-*.whl")
        python = _environment(folder / "venv", str(localorg), f"{wheel}[localorg]", "pytest")
        shutil.copytree(ROOT / "tests" / "sample_project", folder / "project")
        print("==> The sample project's tests", flush=True)
        started = time.monotonic()
        _run(python, "-m", "pytest", cwd=folder / "project", AIRFLOW_HOME=str(folder / "home"))
        seconds = time.monotonic() - started
    print(f"==> They took {seconds:.0f} s; {MOST_SECONDS} s is what they may take on an idle machine", flush=True)
    return 0


def _environment(folder: Path, *packages: str) -> str:
    python = str(folder / "bin" / "python")
    constraints = str(ROOT / "constraints.txt")
    if shutil.which("uv"):
        _run("uv", "venv", "-q", "--python", sys.executable, str(folder))
        _run("uv", "pip", "install", "-q", "--compile-bytecode", "--python", python, "-c", constraints, *packages)
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "-q", "-c", constraints, *packages)
    return python


def _run(*command: str, cwd: Path | None = None, **env: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
    subprocess.run(command, cwd=cwd, env={**clean, **env}, check=True)


if __name__ == "__main__":
    sys.exit(main())
