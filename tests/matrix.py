"""`make test-matrix`: the tests in an environment for each corner of Airflow versions and Pythons.

CORNERS="3.1/3.10 3.3/3.13" and TESTS="tests/surface" in the environment narrow it down. Needs uv and the Pythons.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-matrix"
CORNERS = os.environ.get("CORNERS", "3.1/3.10 3.1/3.13 3.2/3.12 3.3/3.10 3.3/3.13").split()
TESTS = os.environ.get("TESTS", "tests/surface tests/extract tests/salesforce tests/test_architecture.py").split()


def main() -> int:
    """Run every corner, even after one has failed; 0 when all passed."""
    if shutil.which("uv") is None:
        print("make test-matrix needs uv, which makes its environments: pip install uv")
        return 1
    outcomes = {corner: run(*corner.split("/")) for corner in CORNERS}
    for corner, passed in outcomes.items():
        print(f"Airflow {corner.replace('/', ', Python ')}: {'passed' if passed else 'FAILED'}")
    return 0 if all(outcomes.values()) else 1


def run(airflow: str, python: str) -> bool:
    """Whether the tests pass with this Airflow on this Python."""
    interpreter = ENVIRONMENTS / f"airflow-{airflow}-python-{python}" / "bin" / "python"
    print(f"==> Airflow {airflow}, Python {python}", flush=True)
    if not interpreter.exists():
        # uv looks for a Python that is installed, by name, before it would fetch one.
        found = shutil.which(f"python{python}") or python
        real = subprocess.run(
            [found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
        )
        folder = str(interpreter.parents[1])
        if subprocess.run(
            ["uv", "venv", "-q", "--python", real.stdout.strip() or python, folder], check=False
        ).returncode:
            return False
    requirements = [f"apache-airflow=={airflow}.*", "-e", f"{ROOT}[dev]"]
    install = ["uv", "pip", "install", "-q", "--python", str(interpreter), *requirements]
    if subprocess.run(install, cwd=ROOT, check=False).returncode:
        return False
    tests = [str(interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    return subprocess.run(tests, cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
