"""The newest full extract of a destination, as a list of files for any reader."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.incremental.state import require_one_source
from airflow_sfcc.extract.manifests import Manifest, read_manifests
from airflow_sfcc.extract.storage import StoragePath, is_local, storage_path
from airflow_sfcc.wording import plural


@dataclass(frozen=True)
class Extract:
    """A committed extract: its files (paths on a disk, URLs elsewhere), its folder, and its manifest."""

    files: list[str]
    path: str
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<Extract {self.path}: {plural(self.manifest['rows'], 'row')} in {plural(len(self.files), 'file')}>"


def newest_extract(destination: StoragePath | str) -> Extract:
    """The newest full extract below `destination`: `pandas.read_parquet(newest_extract("/data/Account").files)`.

    A destination keeps an extract of each run, so a glob over all of them reads a record once for each. Raises StateError
    when there is no full extract, when incremental ones followed it (whose reader is `current_table_sql`), or when the
    destination holds several objects.
    """
    root = storage_path(destination)
    manifests = read_manifests(root)
    require_one_source(root, manifests)
    if not manifests:
        raise StateError(f"{root} holds no extracts: name the folder of one object, as the DAG's destination does.")
    newest = manifests[-1]
    if newest["mode"] != "full":
        raise StateError(
            f"{root} holds incremental extracts, of which the newest has changes only: read the current table with "
            "airflow_sfcc.extract.current_table_sql."
        )
    folder = f"{_place(root)}/extract={newest['extract_id']}"
    return Extract([f"{folder}/{file['path']}" for file in newest["files"]], folder, newest)


def _place(root: StoragePath) -> str:
    """A path on a disk, a URL elsewhere."""
    path = str(root.path).rstrip("/")
    return path if is_local(root) else f"{root.protocol}://{path}"
