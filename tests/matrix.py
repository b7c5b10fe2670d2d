"""`make test-matrix`: the tests in an environment for each corner of Airflow versions and Pythons.

CORNERS="3.1/3.10 3.3/3.13" and TESTS="tests/surface" in the environment narrow it down. Needs uv and the Pythons, which uv,
pyenv or the PATH have. What each corner installs is pinned: by constraints.txt for the newest Airflow, by
constraints/airflow-<version>-python-<version>.txt for older ones. `LOCK=1` resolves those files anew first. The corner
`lowest` has the lowest versions that pyproject.toml admits, and 3.1.5 the providers that Airflow's own constraints gave it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-matrix"
CORNERS = os.environ.get("CORNERS", "lowest/3.10 3.1.5/3.11 3.1/3.10 3.1/3.13 3.2/3.12 3.3/3.10 3.3/3.13").split()
EVERYWHERE = "tests/surface tests/extract tests/salesforce tests/test_architecture.py "
EVERYWHERE += "tests/test_example_dags.py tests/test_taskgroups.py"
TESTS = os.environ.get("TESTS", EVERYWHERE).split()
SIDE_BY_SIDE = os.environ.get("SIDE_BY_SIDE", "").split()


LOWEST = "lowest"
"""The corner whose direct dependencies are the lowest that are admitted, Airflow among them."""

MISSING_BOUNDS = {"3.2": ["fastapi<0.137", "svcs<26"], LOWEST: ["structlog<26"]}
"""What an Airflow does not say it needs: with newer ones the API of 3.2 does not start, or forgets its services."""

OF_ITS_MONTH = {"3.1.5": ["amazon==9.18.1", "common-compat==1.10.1", "common-io==1.7.0", "common-sql==1.30.1"]}
OF_ITS_MONTH["3.1.5"] += ["http==5.6.1", "openlineage==2.9.1", "smtp==2.4.1", "standard==1.10.1"]
OF_ITS_MONTH[LOWEST] = ["common-io==1.7.0", "common-sql==1.30.1", "smtp==2.4.1", "standard==1.10.1"]
"""Providers as in Airflow's constraints of that version, which whoever installs by them has. The lowest corner takes those
that others bring from there too: newer ones want a newer common-compat than ours."""


@dataclass(frozen=True)
class Corner:
    """A version of Airflow on a version of Python."""

    airflow: str
    python: str

    def __str__(self) -> str:
        return f"Airflow {self.airflow}, Python {self.python}"

    @property
    def file_name(self) -> str:
        return f"{'' if self.airflow == LOWEST else 'airflow-'}{self.airflow}-python-{self.python}"

    @property
    def environment(self) -> Path:
        return ENVIRONMENTS / self.file_name

    @property
    def interpreter(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def constraints(self) -> Path:
        """What is installed here: constraints.txt pins the newest Airflow, for every Python."""
        if f"\napache-airflow=={self.airflow}." in (ROOT / "constraints.txt").read_text(encoding="utf-8"):
            return ROOT / "constraints.txt"
        return ROOT / "constraints" / f"{self.file_name}.txt"

    @property
    def requirements(self) -> list[str]:
        """What is asked for beside the package itself."""
        airflow = [] if self.airflow == LOWEST else [f"apache-airflow=={self.airflow}.*"]
        providers = [f"apache-airflow-providers-{provider}" for provider in OF_ITS_MONTH.get(self.airflow, [])]
        return [*airflow, *MISSING_BOUNDS.get(self.airflow, []), *providers]


def main() -> int:
    """Run every corner, even after one has failed; 0 when all passed."""
    if shutil.which("uv") is None:
        print("make test-matrix needs uv, which makes its environments: pip install uv")
        return 1
    corners = [Corner(*corner.split("/")) for corner in CORNERS]
    outcomes: list[tuple[Corner, bool, float]] = []
    for number, corner in enumerate(corners, 1):
        print(f"==> {number} of {len(corners)}: {corner}, as pinned in {corner.constraints.name}", flush=True)
        began = time.monotonic()
        passed = run(corner)
        outcomes.append((corner, passed, time.monotonic() - began))
        print(f"==> {number} of {len(corners)}: {summary(*outcomes[-1])}\n", flush=True)
    print(*(summary(*outcome) for outcome in outcomes), sep="\n")
    return 0 if all(passed for _, passed, _ in outcomes) else 1


def summary(corner: Corner, passed: bool, seconds: float) -> str:
    return f"{corner}: {'passed' if passed else 'FAILED'} after {seconds:,.0f} s"


def run(corner: Corner) -> bool:
    """Whether the tests pass in this corner; pytest prints how far it is."""
    if os.environ.get("LOCK") and corner.constraints.name != "constraints.txt" and not lock(corner):
        return False
    if not installed(corner):
        return False
    tests = [str(corner.interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", *SIDE_BY_SIDE, *TESTS]
    # An Airflow of its own: another version's database and configuration would be in the way.
    settings = {**os.environ, "AIRFLOW_HOME": str(corner.environment / "airflow")}
    return subprocess.run(tests, cwd=ROOT, env=settings, check=False).returncode == 0


def installed(corner: Corner) -> bool:
    """The corner's environment, made or brought up to date; False when it could not be."""
    if not corner.interpreter.exists() and not done(
        "uv", "venv", "-q", "--python", python(corner.python), str(corner.environment)
    ):
        return False
    return done(
        *("uv", "pip", "install", "-q", "--python", str(corner.interpreter), "-c", str(corner.constraints)),
        *(*corner.requirements, "-e", f"{ROOT}/localorg", "-e", f"{ROOT}[dev]"),
    )


def python(version: str) -> str:
    """The Python to use: one on the PATH, one of pyenv's, or else whatever uv finds."""
    on_path = subprocess.run(
        ["sh", "-c", f"python{version} -c 'import sys; print(sys.executable)'"],
        capture_output=True,
        text=True,
        check=False,
    )
    if on_path.returncode == 0:
        return on_path.stdout.strip()
    if shutil.which("pyenv"):
        versions = Path(subprocess.check_output(["pyenv", "root"], text=True).strip()) / "versions"
        found = sorted(versions.glob(f"{version}.*/bin/python"), key=lambda path: numbers(path.parts[-3]))
        if found:
            return str(found[-1])
    return version


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def lock(corner: Corner) -> bool:
    """Resolve a corner's constraints anew: the newest packages that this Airflow and this Python admit, or the lowest."""
    corner.constraints.parent.mkdir(exist_ok=True)
    compile_ = ["uv", "pip", "compile", "-q", "--upgrade", "--no-header", "--no-annotate", "--extra", "dev"]
    compile_ += ["--python-version", corner.python, "-o", str(corner.constraints)]
    requirements = [*corner.requirements, "./localorg"]
    if corner.airflow == LOWEST:
        compile_ += ["--resolution", "lowest-direct"]
    elif corner.airflow not in OF_ITS_MONTH:
        requirements.append(f"apache-airflow>={corner.airflow}.1")  # a line's first release has open ends
    compile_ += ["--no-emit-package", "salesforce-localorg", "pyproject.toml", "localorg/pyproject.toml", "-"]
    return subprocess.run(compile_, cwd=ROOT, input="\n".join(requirements), text=True, check=False).returncode == 0


def done(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
