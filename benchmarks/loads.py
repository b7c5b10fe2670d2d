"""The cases of loading: which system brings the changes of `load_work` into which table.

What is there before, the table with all rows, is made once for each system and kept in `.bench`; each run works on a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import FOLDER, SYSTEMS
from benchmarks.load_work import make_work, rows_after
from tests.load.postgres_server import Server, binaries, running

PREPARE_SECONDS = 3600
MILLION = 1_000_000
_FILES = {"delta": "table", "duckdb": "tables.duckdb"}


@dataclass(frozen=True)
class LoadMeasurement:
    """One row of the results: a table of `rows` rows gets the changes, or is made if `first`."""

    case: str
    system: str
    format: str
    rows: int
    first: bool = False

    csv_mb = 0.0

    @property
    def label(self) -> str:
        return f"{self.case}/{self.system}/{self.format}"

    @property
    def expected_rows(self) -> int:
        return self.rows if self.first else rows_after(self.rows)

    def surroundings(self) -> AbstractContextManager[None]:
        return nullcontext()

    def task(self, folder: Path) -> dict[str, Any]:
        """What the system's script reads; the table lies in `folder`, or in a database of the running server."""
        lake = self._lake(folder, ("base",) if self.first else ("base", "changes"))
        if not self.first:
            self._copy_table(folder)
        place = POSTGRES.url("measured") if self.format == "postgres" else str(folder / _FILES[self.format])
        return self._task(folder, lake, place, first=self.first)

    def _task(self, folder: Path, lake: Path, place: str, *, first: bool) -> dict[str, Any]:
        return {"format": self.format, "folder": str(folder), "extracts": str(lake), "place": place, "first": first}

    def _copy_table(self, folder: Path) -> None:
        if self.format == "postgres":
            POSTGRES.copy(self._database, "measured")
        else:
            _copy(self._prepared / _FILES[self.format], folder / _FILES[self.format])
        if self.system == "dlt":
            _copy(self._prepared / "pipelines", folder / "pipelines")

    def prepare(self) -> None:
        """Make the work and the table that is there before, unless they were made already."""
        make_work(self._work, self.rows)
        if self.first or (self.format != "postgres" and (self._prepared / "done").exists()):
            return
        if self.format == "postgres" and POSTGRES.has(self._database):
            return
        print(f"==> Preparing the {self.format} table of {self.rows:,} rows for {self.system} (once)", flush=True)
        shutil.rmtree(self._prepared, ignore_errors=True)
        self._prepared.mkdir(parents=True)
        place = str(self._prepared / _FILES.get(self.format, ""))
        if self.format == "postgres":
            place = POSTGRES.url(self._database)
            POSTGRES.make(self._database)
        self._make(self._task(self._prepared, self._lake(self._prepared, ("base",)), place, first=True))
        (self._prepared / "done").touch()

    def _make(self, task: dict[str, Any]) -> None:
        system = SYSTEMS[self._maker]
        done = subprocess.run(
            [system.python, str(system.path)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=PREPARE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.label} could not be prepared:\n{done.stderr[-4000:]}")

    @property
    def _maker(self) -> str:
        """The bare MERGE works on the table that ours makes."""
        return "airflow-sfcc-load" if self.system == "deltalake-merge" else self.system

    @property
    def _work(self) -> Path:
        return FOLDER / f"load-{self.rows}"

    @property
    def _prepared(self) -> Path:
        return self._work / f"{self._maker}-{self.format}"

    @property
    def _database(self) -> str:
        return f"{self._maker}-{self.rows}"

    def _lake(self, folder: Path, extracts: tuple[str, ...]) -> Path:
        """A destination with some of the work's extracts, whose files are hard links."""
        lake = folder / "lake"
        for name in extracts:
            _copy(self._work / f"extract={name}", lake / f"extract={name}")
        return lake


def _copy(source: Path, target: Path) -> None:
    """Parquet files are never changed, so links do."""
    if source.is_file():
        shutil.copy(source, target)
    else:
        shutil.copytree(source, target, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class Postgres:
    """The server of a run: with its usual safety, in a folder that goes with it."""

    def __init__(self) -> None:
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        if self._server is None:
            raise RuntimeError("PostgreSQL does not run")
        return self._server

    @contextmanager
    def running(self) -> Iterator[None]:
        programs = binaries()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
        with running(programs, durable=True) as self._server:
            yield
        self._server = None

    def url(self, database: str) -> str:
        # dlt insists on a password; the server asks for none.
        return f"postgresql://postgres:none@127.0.0.1:{self.server.port}/{database}"

    def has(self, database: str) -> bool:
        with self.server.connect() as connection:
            found = connection.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [database]).fetchone()
            return bool(found and found[0])

    def make(self, database: str) -> None:
        with self.server.connect(autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def copy(self, source: str, target: str) -> None:
        """A database that has never been changed; one of that name is replaced."""
        with self.server.connect(autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{target}"')
            connection.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}" STRATEGY file_copy')
            connection.execute("CHECKPOINT")


POSTGRES = Postgres()


def load_measurements(scale: float = 1.0) -> Iterator[LoadMeasurement]:
    """All rows of the results; `scale` makes everything smaller, in thousands of rows."""

    def rows(full: int) -> int:
        return max(20_000, round(full * scale / 1000) * 1000)

    for case, count in (("merge_1m", rows(MILLION)), ("merge_10m", rows(10 * MILLION))):
        for form in ("delta", "duckdb", "postgres"):
            yield LoadMeasurement(case, "airflow-sfcc-load", form, count)
        yield LoadMeasurement(case, "deltalake-merge", "delta", count)
        for form in ("delta", "duckdb", "postgres"):
            yield LoadMeasurement(case, "dlt", form, count)
    yield LoadMeasurement("first_load_10m", "airflow-sfcc-load", "delta", rows(10 * MILLION), first=True)
    yield LoadMeasurement("first_load_10m", "deltalake-merge", "delta", rows(10 * MILLION), first=True)
