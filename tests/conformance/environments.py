"""The foreign clients, each installed into an environment of its own below `.conformance`, which Git ignores.

None of their code is part of this project: `make conformance` installs what this module names, and the tests run it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / ".conformance"


class NotInstallableError(Exception):
    """A client cannot be installed here; the text says what is missing."""


@dataclass(frozen=True)
class Environment:
    """One client. `requirements` are pinned; `constrained` holds the rest to the project's own constraints."""

    name: str
    requirements: tuple[str, ...]
    make: Callable[[Environment], None]
    constrained: bool = False

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def record(self) -> Path:
        return self.folder / ".installed"

    @property
    def is_installed(self) -> bool:
        return self.record.exists() and self.record.read_text() == "\n".join(self.requirements)

    def path(self, name: str) -> str:
        """The path of something that the client brings. Raises NotInstallableError before it is installed."""
        if not self.is_installed:
            raise NotInstallableError(f"{self.name} is not installed; `make conformance` installs it.")
        return str(self.folder / name)

    def install(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.make(self)
        self.record.write_text("\n".join(self.requirements))


def _with_pip(environment: Environment) -> None:
    constraints = ["-c", str(PROJECT / "constraints.txt")] if environment.constrained else []
    if shutil.which("uv"):
        _run("uv", "venv", "-q", "--clear", "--python", sys.executable, str(environment.folder))
        python = str(environment.folder / "bin" / "python")
        _run("uv", "pip", "install", "-q", "--python", python, *constraints, *environment.requirements)
    else:
        _run(sys.executable, "-m", "venv", "--clear", str(environment.folder))
        python = str(environment.folder / "bin" / "python")
        quiet = ("-q", "--disable-pip-version-check")
        _run(python, "-m", "pip", "install", *quiet, *constraints, *environment.requirements)


def _with_npm(environment: Environment) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstallableError(f"{environment.name} needs node 18 or newer and npm; on Debian: apt-get install npm")
    quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
    _run(npm, "install", *quiet, "--prefix", str(environment.folder), *environment.requirements)


def _run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise NotInstallableError(f"{' '.join(command)} failed:\n{answer.stdout[-2000:]}{answer.stderr[-4000:]}")


# jsforce from 3.10.19 on needs node 22, which Debian's stable release does not have.
JSFORCE = Environment("jsforce", ("jsforce@3.10.16",), _with_npm)
AIRBYTE = Environment("airbyte", ("airbyte-source-salesforce==2.10.3",), _with_pip)
SINGER = Environment("singer", ("tap-salesforce==2.8.1",), _with_pip)
PROVIDER = Environment(
    "airflow-provider", ("apache-airflow", "apache-airflow-providers-salesforce==5.15.1"), _with_pip, constrained=True
)
# Of no client, and of `make dbt-test` only. dbt-core 1.12 downloads a parser from outside the package index.
DBT = Environment("dbt", ("dbt-core==1.11.16", "dbt-duckdb==1.11.1"), _with_pip)
SOQL_PARSER = Environment("soql-parser-js", ("@jetstreamapp/soql-parser-js@6.3.1",), _with_npm)
ENVIRONMENTS = (JSFORCE, AIRBYTE, SINGER, PROVIDER, SOQL_PARSER)


def main(names: Sequence[str] = ()) -> int:
    """Install what is not installed yet, saying so: the environments with these names, or all clients."""
    for environment in (*ENVIRONMENTS, DBT):
        wanted = environment.name in names if names else environment in ENVIRONMENTS
        if environment.is_installed or not wanted:
            continue
        print(f"==> Installing {', '.join(environment.requirements)} into .conformance/{environment.name}", flush=True)
        try:
            environment.install()
        except NotInstallableError as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
