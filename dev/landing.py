"""What an extract left on disk, read from its manifests and files, and checked against what the org holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.table import Table

from airflow_sfcc.timestamps import timestamp
from airflow_sfcc.wording import plural


@dataclass(frozen=True)
class Landed:
    """One object's extract. ``bytes`` and ``files`` are of its data files; ``seconds`` from its first to its last call."""

    sobject: str
    rows: int
    bytes: int
    files: int
    api: str
    api_calls: int
    seconds: float | None
    folder: Path


def landed_by(landing: Path, run_id: str) -> list[Landed]:
    """The committed extracts of one DAG run below ``landing/<Object>/extract=*/``, by object name."""
    manifests = {file.parent: _read(file) for file in sorted(landing.glob("*/extract=*/_manifest.json"))}
    return [_landed(folder, manifest) for folder, manifest in manifests.items() if manifest["run_id"] == run_id]


def differences(landed: Sequence[Landed], in_org: Mapping[str, int], *, extracts: int) -> list[str]:
    """One sentence for everything that is not as it should be; empty when all is right.

    :param in_org: how many rows the org says it holds, by object.
    :param extracts: how many extracts the run had, each of which should have landed.
    """
    sentences = []
    if len(landed) != extracts or not landed:
        sentences.append(f"{plural(extracts, 'extract')} ran but {len(landed)} landed.")
    for extract in landed:
        if extract.rows != in_org.get(extract.sobject):
            sentences.append(
                f"{extract.sobject} landed {plural(extract.rows, 'row')} but the org counts {in_org.get(extract.sobject)}."
            )
    return sentences + [sentence for extract in landed for sentence in _file_differences(extract)]


def as_table(landed: Sequence[Landed]) -> Table:
    """A table of the extracts with a line of totals; the total of seconds is left out because extracts overlap."""
    total = Landed(
        sobject="Total",
        rows=sum(extract.rows for extract in landed),
        bytes=sum(extract.bytes for extract in landed),
        files=sum(extract.files for extract in landed),
        api="",
        api_calls=sum(extract.api_calls for extract in landed),
        seconds=None,
        folder=Path(),
    )
    table = Table("Object", title="What landed", title_justify="left")
    for heading in ("Rows", "Bytes", "Files", "API", "API calls", "Seconds"):
        table.add_column(heading, justify="right")
    for extract in landed:
        table.add_row(*_cells(extract))
    table.add_section()
    table.add_row(*_cells(total), style="bold")
    return table


def _cells(extract: Landed) -> tuple[str, ...]:
    return (
        extract.sobject,
        f"{extract.rows:,}",
        f"{extract.bytes:,}",
        f"{extract.files:,}",
        extract.api,
        f"{extract.api_calls:,}",
        "" if extract.seconds is None else f"{extract.seconds:.1f}",
    )


def _landed(folder: Path, manifest: Mapping[str, Any]) -> Landed:
    began, ended = (timestamp(manifest[name]) for name in ("started_at", "finished_at"))
    return Landed(
        sobject=manifest["sobject"],
        rows=manifest["rows"],
        bytes=manifest["bytes"],
        files=len(manifest["files"]),
        api=manifest["api"],
        api_calls=manifest["api_calls"],
        seconds=(ended - began).total_seconds(),
        folder=folder,
    )


def _file_differences(extract: Landed) -> list[str]:
    """Whether the Parquet files, read without our package, hold what the manifest says."""
    files = sorted(extract.folder.glob("part-*.parquet"))
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    size = sum(file.stat().st_size for file in files)
    if (rows, size) == (extract.rows, extract.bytes):
        return []
    return [
        f"The manifest of {extract.sobject} says {_size(extract.rows, extract.bytes)}, "
        f"but its files hold {_size(rows, size)}: {extract.folder}"
    ]


def _size(rows: int, size: int) -> str:
    return f"{plural(rows, 'row')} in {plural(size, 'byte')}"


def _read(manifest: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    return content
