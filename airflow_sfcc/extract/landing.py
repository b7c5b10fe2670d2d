"""Where an extract's files go: first below `_staging`, then, complete, in one step to where readers look.

    <destination>/_staging/extract=<id>/part-00000.parquet, _plan.json      while it runs
    <destination>/extract=<id>/part-00000.parquet, _manifest.json           once it is committed

Readers skip names that start with `_`, and the staged files are one folder deeper than `*/*.parquet` reaches, so a run
that dies leaves nothing that could be taken for data.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Union

from airflow_sfcc.extract.parts import CountedFile
from airflow_sfcc.salesforce.errors import SalesforceError

if TYPE_CHECKING:
    from upath import UPath
    from upath.extensions import ProxyUPath

StoragePath = Union["UPath", "ProxyUPath"]
"""Any universal-pathlib path; Airflow's ObjectStoragePath is one."""

STAGING = "_staging"
MANIFEST = "_manifest.json"
PLAN = "_plan.json"
_LOCAL = frozenset({"", "file", "local"})


@dataclass(frozen=True)
class Part:
    """A written part file: its name, and what it holds. Plain JSON by `to_json`."""

    name: str
    rows: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Landing:
    """The folders of one extract below its destination."""

    def __init__(self, destination: StoragePath, extract_id: str) -> None:
        self.destination = destination
        self.folder = destination / f"extract={extract_id}"
        self._staging_root = destination / STAGING
        self.staging = self._staging_root / f"extract={extract_id}"

    @property
    def _fs(self) -> Any:
        return self.destination.fs

    @property
    def _is_local(self) -> bool:
        return self.destination.protocol in _LOCAL

    def start_afresh(self) -> None:
        """An empty staging folder, whatever an earlier try left there."""
        self._remove(self.staging)
        self.staging.mkdir(parents=True, exist_ok=True)

    def save_plan(self, plan: Mapping[str, Any]) -> None:
        _write_json(self.staging / PLAN, plan)

    def load_plan(self) -> dict[str, Any]:
        """The staged plan. Raises SalesforceError when somebody removed it meanwhile."""
        path = self.staging / PLAN
        if not path.exists():
            raise SalesforceError(
                f"The staged plan {path} is gone, so this extract cannot go on: clear the task to run it from the start."
            )
        with path.open("rb") as file:
            plan: dict[str, Any] = json.loads(file.read())
            return plan

    @contextmanager
    def open_part(self, name: str) -> Iterator[CountedFile]:
        """A staged file to write; removed again when writing it fails."""
        path = self.staging / name
        file = CountedFile(path.open("wb"))
        try:
            yield file
        except BaseException:
            with contextlib.suppress(Exception):
                file.close()
            self._remove(path)
            raise
        file.close()

    def remove_part(self, name: str) -> None:
        self._remove(self.staging / name)

    def commit(self, manifest: Mapping[str, Any]) -> StoragePath:
        """Publish the staged parts with their manifest, replacing what this extract landed before.

        On a local disk the folder appears in one rename. Object stores have no rename: there the old manifest goes
        first and the new one comes last. Returns the manifest's path.
        """
        _write_json(self.staging / MANIFEST, manifest)
        self._remove(self.staging / PLAN)
        self._remove(self.folder / MANIFEST)
        self._remove(self.folder)
        if self._is_local:
            self._fs.mv(self.staging.path, self.folder.path, recursive=True)
        else:
            for name in [*(file["path"] for file in manifest["files"]), MANIFEST]:
                self._fs.mv((self.staging / name).path, (self.folder / name).path)
        self.discard()
        return self.folder / MANIFEST

    def discard(self) -> None:
        """Remove what is staged; what was committed before stays."""
        self._remove(self.staging)
        with contextlib.suppress(OSError):
            if self._is_local and self._staging_root.exists():
                self._staging_root.rmdir()

    def _remove(self, path: StoragePath) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(path.path, recursive=True)


def _write_json(path: StoragePath, data: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        file.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
