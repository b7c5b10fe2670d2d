"""What is pinned can be installed with each Python that it is for: a pin without a marker may need a newer one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
CASES = [("constraints.txt", python) for python in PYTHONS]
CASES += [
    (f"constraints/{path.name}", path.stem.rpartition("-")[2]) for path in sorted((ROOT / "constraints").glob("*.txt"))
]


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, which resolves for Pythons that are not there")
@pytest.mark.parametrize(("constraints", "python"), CASES)
def test_pins_can_be_installed(constraints: str, python: str) -> None:
    command = ["uv", "pip", "compile", "-q", "--python-version", python, "-c", constraints, "--no-header", "-"]
    wanted = "-e ./localorg\n-e .[dev]\n"
    resolved = subprocess.run(command, input=wanted, capture_output=True, text=True, cwd=ROOT, check=False)
    assert resolved.returncode == 0, resolved.stderr
    assert "apache-airflow-core==" in resolved.stdout
