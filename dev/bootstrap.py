"""Makes .venv and installs the project into it; a line says what each stage does and how far it is.

Runs before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import argparse
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SIGN_OF_LIFE_SECONDS = 5.0
UV_STAGE = re.compile(r"(Resolved|Prepared|Installed|Audited) \d+ packages? in .*")
PIP_PACKAGE = re.compile(r"(Collecting|Requirement already satisfied:|Processing|Obtaining) ")


def main() -> int:
    """Returns the exit code; what the installer printed is shown when it fails."""
    parser = argparse.ArgumentParser(description="Set up .venv")
    parser.add_argument("--fresh", action="store_true", help="make .venv anew")
    parser.add_argument("--extra", action="append", default=["dev"], help="extra of the package to install")
    parser.add_argument("--with", action="append", default=[], dest="packages", help="another package to install")
    options = parser.parse_args()
    if sys.version_info < (3, 10):  # noqa: UP036
        found = sys.version.split()[0]
        print(f"airflow-sfcc needs Python 3.10 or newer, this is {found}. Name another one: make PYTHON=python3.11")
        return 1
    began = time.monotonic()
    uv = shutil.which("uv")
    if options.fresh or not PYTHON.exists():
        print(f"==> 1/2 Virtual environment .venv with Python {sys.version.split()[0]}", flush=True)
        if not make_environment(uv):
            return 1
    extras = ",".join(dict.fromkeys(options.extra))
    print(
        f"==> 2/2 Airflow and what the project needs ({extras}), pinned by constraints.txt: a minute or two", flush=True
    )
    code = install(uv, ["-e", "./localorg", "-e", f".[{extras}]", *options.packages])
    if code == 0:
        print(f"==> .venv is ready after {time.monotonic() - began:.0f} s", flush=True)
    return code


def make_environment(uv: str | None) -> bool:
    if uv:
        return subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(VENV)]).returncode == 0
    try:
        venv.create(VENV, clear=True, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError) as problem:
        print(f"Python cannot make virtual environments ({problem}); on Debian: apt-get install python3-venv")
        return False
    return True


def install(uv: str | None, packages: list[str]) -> int:
    """Run uv or pip, and show how far it is: its stages, and a sign of life every few seconds."""
    if uv:
        command = [uv, "pip", "install", "--python", str(PYTHON)]
    else:
        command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    began = time.monotonic()
    found = 0
    kept: list[str] = []
    process = subprocess.Popen(
        [*command, "-c", "constraints.txt", *packages],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = lines_of(process)
    while (line := next_line(lines)) is not None:
        kept.append(line)
        found += bool(PIP_PACKAGE.match(line))
        if UV_STAGE.fullmatch(line) or line.startswith("Installing collected packages") or not line:
            stage = line or (f"{found} packages found so far" if found else "downloading")
            print(f"    {time.monotonic() - began:4.0f} s  {stage[:60]}", flush=True)
    if process.wait():
        print(*kept[-25:], sep="\n")
    return process.returncode


def lines_of(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """What a process prints, line by line; None at its end."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            if line.strip():
                lines.put(line.strip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def next_line(lines: queue.Queue[str | None]) -> str | None:
    """The next line, None at the end, or an empty line when there is none for some seconds."""
    try:
        return lines.get(timeout=SIGN_OF_LIFE_SECONDS)
    except queue.Empty:
        return ""


if __name__ == "__main__":
    sys.exit(main())
