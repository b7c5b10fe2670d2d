"""The peers, each installed into an environment of its own below `.bench`, which Git ignores."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / ".bench"


@dataclass(frozen=True)
class System:
    """A system by its name in the results: its script, and what it needs; without requirements it runs in ours."""

    name: str
    script: str
    requirements: tuple[str, ...] = ()
    versioned: str = ""

    @property
    def folder(self) -> Path:
        return FOLDER / "environments" / self.name

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python") if self.requirements else sys.executable

    @property
    def path(self) -> Path:
        return Path(__file__).parent / "systems" / f"{self.script}.py"

    def version(self) -> str:
        """The version of what is measured."""
        if self.name == "curl":
            return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        if not self.requirements:
            return installed_version(self.versioned)
        pinned = dict(requirement.split("==") for requirement in self.requirements if "==" in requirement)
        return next(version for name, version in pinned.items() if name.partition("[")[0] == self.versioned)

    def install(self) -> None:
        """Install what is not installed yet, saying so."""
        record = self.folder / ".installed"
        wanted = "\n".join(self.requirements)
        if not wanted or (record.exists() and record.read_text() == wanted):
            return
        print(f"==> Installing {', '.join(self.requirements)} into .bench/environments/{self.name}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if shutil.which("uv"):
            subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(self.folder)], check=True)
            install = ["uv", "pip", "install", "-q", "--python", self.python]
        else:
            subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
            install = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *self.requirements], check=True)
        record.write_text(wanted)


SYSTEMS = {
    system.name: system
    for system in (
        System("airflow-sfcc", "airflow_sfcc_", versioned="airflow-sfcc"),
        System("airflow-sfcc-one-stream", "airflow_sfcc_", versioned="airflow-sfcc"),
        System("idle-airflow-task", "airflow_sfcc_", versioned="apache-airflow"),
        System("bare-pyarrow", "bare_pyarrow", versioned="pyarrow"),
        System("airflow-sfcc-load", "airflow_sfcc_load", versioned="airflow-sfcc"),
        System("deltalake-merge", "deltalake_merge", versioned="deltalake"),
        System(
            "dlt",
            "dlt_",
            ("dlt[deltalake,duckdb,postgres]==1.31.0", "deltalake==1.6.6", "duckdb", "adbc-driver-postgresql"),
            "dlt",
        ),
        System("curl", "curl"),
        System(
            "simple-salesforce",
            "simple_salesforce_",
            ("simple-salesforce==1.12.10",),
            "simple-salesforce",
        ),
        System(
            "official-provider",
            "official_provider",
            ("apache-airflow==3.3.2", "apache-airflow-providers-salesforce==5.15.1", "pandas"),
            "apache-airflow-providers-salesforce",
        ),
        System("airbyte", "airbyte_reader", ("airbyte-cdk==7.39.1",), "airbyte-cdk"),
        System("singer-tap", "singer_tap", ("tap-salesforce==2.8.1",), "tap-salesforce"),
    )
}
