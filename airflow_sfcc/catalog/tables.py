"""What destinations hold, as tables with described columns."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.described import Described, DescribedField
from airflow_sfcc.extract.incremental.state import latest_state, require_one_source
from airflow_sfcc.extract.land import describe_file
from airflow_sfcc.extract.manifests import Manifest, extract_id_of, file_format_of
from airflow_sfcc.extract.plan.quirks import has_ids
from airflow_sfcc.extract.storage import StoragePath, listed

log = logging.getLogger(__name__)

PLACEHOLDER = "{sobject}"
_OBJECT = re.compile(r"\w{1,255}")
_READERS = 16
"""Folders that are looked into at a time: a whole org has hundreds."""

_MOST_PARENTS = 5
"""SOQL goes through no more."""

Describer = Callable[[str], Described | None]


@dataclass(frozen=True)
class Column:
    """A column of the files; `field` is what describe says of it, None where that is not known.

    `sobject` is the object whose field it is: another one for `Owner.Name`. `hashed` columns hold no values of Salesforce's.
    """

    name: str
    type: str
    salesforce_type: str
    nullable: bool
    sobject: str | None
    field: DescribedField | None
    hashed: bool = False

    @property
    def is_own(self) -> bool:
        """Whether it is a field of the object itself."""
        return self.field is not None and self.field.name == self.name and self.field.type == self.salesforce_type

    @property
    def has_own_values(self) -> bool:
        """Whether its values are those that describe speaks of."""
        return self.is_own and not self.hashed


@dataclass(frozen=True)
class Table:
    """An object's destination. `newest` is the manifest that was read last, `described` what it names."""

    sobject: str
    root: StoragePath
    newest: Manifest
    file_format: str | None
    described: Described | None
    columns: tuple[Column, ...]

    @property
    def label(self) -> str:
        return self.described.label if self.described else ""

    @property
    def has_ids(self) -> bool:
        """Whether each row has an Id of its own."""
        fields = [{"name": column.name} for column in self.columns]
        is_there = any(column.name == "Id" and column.salesforce_type == "id" for column in self.columns)
        return is_there and has_ids({"name": self.sobject, "fields": fields})

    @property
    def is_whole(self) -> bool:
        """Whether it holds the object's records, as far as the Run As user may see them: no condition, no aggregate."""
        return self.has_ids and not self.newest.get("where") and bool(self.newest.get("cursor_field"))


def tables_in(
    destinations: Sequence[StoragePath],
    describe: Describer | None = None,
    tell: Callable[[str], object] = log.warning,
) -> list[Table]:
    """The tables below the destinations, by name. `describe` is asked for objects of which no extract kept a describe, and `tell`
    gets a sentence for each folder that is left out.

    A destination is one object's folder, or one whose folders are those of objects; `{sobject}` in it stands for any of
    them. Raises StateError when nothing is there, when two hold the same object, or when they are of several orgs.
    """
    found: dict[str, tuple[StoragePath, Manifest]] = {}
    for destination in destinations:
        with ThreadPoolExecutor(_READERS) as pool:
            found_in = list(_roots(destination, pool))
            roots = dict(zip(found_in, pool.map(_newest, found_in)))
        landed = {root: newest for root, newest in roots.items() if newest is not None}
        if not landed:
            raise StateError(_nothing_in(destination, roots))
        for root in roots.keys() - landed.keys():
            tell(f"{root} holds no committed extract yet, so it is left out.")
        for root, newest in landed.items():
            sobject = str(newest["sobject"])
            if sobject in found:
                raise StateError(
                    f"{found[sobject][0]} and {root} both hold extracts of {sobject}: make a catalog of each by itself, with "
                    "an --output and a --source of its own."
                )
            found[sobject] = root, newest
    _require_one_org([newest for _, newest in found.values()])
    descriptions = {name: _described(root, newest, describe) for name, (root, newest) in found.items()}
    return [_table(*found[name], descriptions) for name in sorted(found)]


def _roots(destination: StoragePath, pool: Executor) -> Iterator[StoragePath]:
    """The folders of objects."""
    head, is_pattern, tail = str(destination.path).partition(PLACEHOLDER)
    if is_pattern:
        parent = _at(destination, head.rpartition("/")[0])
        prefix, suffix, below = head.rpartition("/")[2], *tail.partition("/")[::2]
        names = [name for name in sorted(listed(parent)) if name.startswith(prefix) and name.endswith(suffix)]
        below_names = [parent / name / below if below else parent / name for name in names if not name.startswith("_")]
        yield from _with_extracts(below_names, pool)
    elif _has_extracts(destination):
        yield destination
    else:
        entries = sorted(listed(destination).items())
        names = [name for name, entry in entries if entry["type"] == "directory" and not name.startswith("_")]
        yield from _with_extracts([destination / name for name in names], pool)


def _with_extracts(folders: Sequence[StoragePath], pool: Executor) -> Iterator[StoragePath]:
    """Those of the folders in which something was extracted."""
    return (folder for folder, has_any in zip(folders, pool.map(_has_extracts, folders)) if has_any)


def _at(destination: StoragePath, path: str) -> StoragePath:
    """A parent of a path in the same storage."""
    found = destination
    while str(found.path).rstrip("/") != path.rstrip("/"):
        if found.parent == found:
            return found
        found = found.parent
    return found


def _has_extracts(folder: StoragePath) -> bool:
    return any(extract_id_of(name) for name in listed(folder))


def _nothing_in(destination: StoragePath, roots: Collection[StoragePath]) -> str:
    if roots:
        return f"{destination} holds no committed extract: run one, or leave it out."
    return f"{destination} holds no extracts: name an object's folder, or the folder that holds those."


def _newest(root: StoragePath) -> Manifest | None:
    """The manifest that was read last; None where no extract was committed, as in an object's first run."""
    state = latest_state(root)
    require_one_source(root, state.manifests)
    if state.newest is None:
        return None
    if not _OBJECT.fullmatch(str(state.newest["sobject"])):
        raise StateError(f"The manifests in {root} name the object {state.newest['sobject']!r}, which is no API name.")
    return state.newest


def _require_one_org(manifests: Sequence[Manifest]) -> None:
    orgs = sorted({str(each["org_id"]) for each in manifests if each.get("org_id")})
    if len(orgs) > 1:
        raise StateError(f"The destinations hold extracts of several orgs ({', '.join(orgs)}): make a catalog of each.")


def _described(root: StoragePath, newest: Manifest, describe: Describer | None) -> Described | None:
    """What the newest extract's describe said. Raises StateError when that is of another object."""
    name = newest.get("describe")
    described = describe_file.read(root, name) if name else None
    if name and described is None:
        log.warning("%s: %s, which the newest manifest names, is gone; the next extract writes it again", root, name)
    if described is None and describe is not None:
        described = describe(str(newest["sobject"]))
    if described is not None and described.sobject != newest["sobject"]:
        raise StateError(
            f"{root / str(name)} describes {described.sobject}, and the extract is of {newest['sobject']}."
        )
    return described


def _table(root: StoragePath, newest: Manifest, descriptions: Mapping[str, Described | None]) -> Table:
    sobject = str(newest["sobject"])
    return Table(
        sobject,
        root,
        newest,
        file_format_of(root, newest["extract_id"]),
        descriptions[sobject],
        tuple(_column(sobject, column, descriptions) for column in newest["schema"]),
    )


def _column(sobject: str, column: Mapping[str, Any], descriptions: Mapping[str, Described | None]) -> Column:
    name = str(column["name"])
    owner, field = _field(sobject, name.split(".")[: _MOST_PARENTS + 1], descriptions)
    kind, salesforce_type, nullable = str(column["type"]), str(column["salesforce_type"]), column.get("nullable", True)
    return Column(name, kind, salesforce_type, bool(nullable), owner, field, hashed=bool(column.get("hashed")))


def _field(
    sobject: str, path: Sequence[str], descriptions: Mapping[str, Described | None]
) -> tuple[str | None, DescribedField | None]:
    """The object and the field that a path of relationships leads to, as far as the catalog knows them."""
    described = descriptions.get(sobject)
    if described is None:
        return None, None
    if len(path) == 1:
        field = described.field(path[0])
        return (sobject, field) if field else (None, None)
    references = [name for each in described.fields if each.relationship == path[0] for name in each.references]
    for parent in references:
        found = _field(parent, path[1:], descriptions)
        if found[1] is not None:
            return found
    return None, None
