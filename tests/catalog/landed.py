"""Small destinations with what describe said of them, for tests of the catalog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from upath import UPath

from airflow_sfcc.extract.described import Described
from airflow_sfcc.extract.land.describe_file import keep, name_of
from airflow_sfcc.extract.storage import StoragePath
from tests.conftest import RunningOrg
from tests.extract.runs import extract

OBJECTS = ("User", "Account", "Contact")


def land(org: RunningOrg, lake: UPath, objects: Sequence[str] = OBJECTS, **request: Any) -> None:
    """A full extract of each object, in a folder of its name."""
    for name in objects:
        extract(org, lake / name, sobject=name, **request)


def change_manifest(root: StoragePath, **changes: Any) -> None:
    """Other values in every manifest of a destination; None leaves the key out."""
    for path in root.glob("extract=*/_manifest.json"):
        manifest = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def describe_anew(root: StoragePath, described: Described | None) -> None:
    """Have the manifests of a destination name another description."""
    keep(root, described)
    change_manifest(root, describe=name_of(described))
