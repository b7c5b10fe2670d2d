"""`make localorg-test`: the local org installed where there is no Airflow, and its tests there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCALORG = ROOT / "localorg"
PRESENT = "import importlib.util as u; print(*[n for n in ('airflow', 'airflow_sfcc') if u.find_spec(n)])"


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="localorg-alone-") as name:
        python = str(Path(name) / "venv" / "bin" / "python")
        print("==> Installing ./localorg where nothing else is", flush=True)
        _install(Path(name) / "venv", python)
        present = subprocess.run([python, "-c", PRESENT], capture_output=True, text=True, check=True, cwd=name)
        if present.stdout.strip():
            print(f"The environment holds {present.stdout.strip()}: this would prove nothing.", file=sys.stderr)
            return 1
        print("==> Its tests there", flush=True)
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=LOCALORG, env=_clean(), check=False).returncode


def _install(folder: Path, python: str) -> None:
    constraints = str(ROOT / "constraints.txt")
    what = f"{LOCALORG}[dev]"
    if shutil.which("uv"):
        _run("uv", "venv", "-q", "--python", sys.executable, str(folder))
        _run("uv", "pip", "install", "-q", "--python", python, "-c", constraints, what)
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, what)


def _run(*command: str) -> None:
    subprocess.run(command, env=_clean(), check=True)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
