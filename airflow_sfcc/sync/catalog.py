"""The objects of an org, and how each is extracted: `incremental`, `full`, `needs_filter` or `not_extractable`, with the reason.

By one describeGlobal, and one call for the record counts of all objects. Objects whose name and flags do not say enough are
described, several in one call.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_sfcc.errors import ApiLimitError, QueryError, SalesforceError, UnexpectedResponseError
from airflow_sfcc.extract.plan.cursor import choose_cursor
from airflow_sfcc.extract.plan.quirks import filter_needed, has_ids, why_not_incremental, why_not_whole
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.responses import JsonObject, count_of, json_object_of
from airflow_sfcc.salesforce.together import ask_together
from airflow_sfcc.sync.patterns import Patterns
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

Kind = Literal["incremental", "full", "needs_filter", "not_extractable"]

DESCRIBES_AT_ONCE = 10
"""Describes in one call: large objects have a megabyte each."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True)
class OrgObject:
    """An object as the Run As user sees it.

    `reason` says why it is not `incremental`, None where it is. `rows` is Salesforce's own count, which is hours old at times
    and leaves out deleted and archived rows; None where it keeps none. `has_log` says that deletions for good can be known.
    """

    name: str
    kind: Kind
    reason: str | None
    rows: int | None
    has_log: bool
    has_ids: bool

    @property
    def is_extracted(self) -> bool:
        return self.kind in ("incremental", "full")

    @property
    def may_be_a_table(self) -> bool:
        """Whether its rows can be told apart and put in order."""
        return self.kind == "incremental"


@dataclass(frozen=True)
class Catalog:
    """What patterns select of an org. `names` are those of all its objects, `unmatched` a sentence for each pattern that
    matches none of them."""

    objects: tuple[OrgObject, ...]
    names: frozenset[str]
    unmatched: tuple[str, ...]


def read_catalog(client: SalesforceClient, patterns: Patterns, where: Mapping[str, str]) -> Catalog:
    """The objects that `patterns` select; `where` has conditions that the user gives, by object name in any case.

    Raises what a request raises.
    """
    briefs = [each for each in _briefs(client) if _NAME.fullmatch(str(each.get("name")))]
    names = [str(each["name"]) for each in briefs]
    filtered = {name.lower() for name in where}
    wanted = set(patterns.selected(names))
    counts = record_counts(client)
    objects = [_object(brief, counts, filtered) for brief in briefs if brief["name"] in wanted]
    unsure = [each.name for each in objects if each.kind == "incremental" and not each.has_log]
    kinds = _described(client, unsure)
    found = [replace(each, **kinds.get(each.name, {})) for each in objects]
    unmatched = [*patterns.without_effect(names), *_unknown_filters(where, names)]
    return Catalog(tuple(sorted(found, key=lambda each: each.name.lower())), frozenset(names), tuple(unmatched))


def record_counts(client: SalesforceClient) -> dict[str, int]:
    """Salesforce's own record counts of all objects, by one call; none where the Run As user may not read them."""
    try:
        listed = json_object_of(client.request("GET", "/limits/recordCount")).get("sObjects")
    except ApiLimitError:
        raise
    except SalesforceError as problem:
        log.warning("Record counts are not known, so large objects are not told from small ones: %s", problem.message)
        return {}
    counts = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, Mapping):
            try:
                counts[str(entry.get("name"))] = max(0, count_of(entry.get("count")))
            except ValueError:
                continue
    return counts


def _briefs(client: SalesforceClient) -> list[JsonObject]:
    listed = client.describe_global().get("sobjects")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise UnexpectedResponseError(f"{client.instance} does not list its objects as Salesforce does.")
    return listed


def _object(brief: Mapping[str, Any], counts: Mapping[str, int], filtered: set[str]) -> OrgObject:
    name = str(brief["name"])
    kind, reason = kind_of(brief, has_filter=name.lower() in filtered)
    return OrgObject(name, kind, reason, counts.get(name), bool(brief.get("replicateable")), has_ids(brief))


def kind_of(describe: Mapping[str, Any], *, has_filter: bool = False) -> tuple[Kind, str | None]:
    """How an object can be extracted, with the reason where it is not `incremental`, from an entry of describeGlobal or a
    whole describe."""
    name = str(describe["name"])
    if not describe.get("queryable", True):
        return "not_extractable", "Salesforce does not let it be queried"
    not_whole = why_not_whole(name)
    if not_whole and not has_filter:
        return "not_extractable", not_whole
    needed = None if has_filter else filter_needed(name)
    if needed:
        return "needs_filter", needed
    reason = why_not_incremental(describe)
    if reason is None and "fields" in describe:
        try:
            choose_cursor(describe, None)
        except QueryError:
            reason = "it has no field that tells when a record changed"
    return ("full", reason) if reason else ("incremental", None)


def _described(client: SalesforceClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What describes say of objects that getUpdated does not know, which may have no stamps."""
    paths = [f"/sobjects/{name}/describe" for name in names]
    found: dict[str, dict[str, Any]] = {}
    for name, part in zip(names, ask_together(client.api, paths, DESCRIBES_AT_ONCE)):
        described = part.body
        if (
            isinstance(described, Mapping)
            and described.get("name") == name
            and isinstance(described.get("fields"), list)
        ):
            kind, reason = kind_of(described, has_filter=True)
            found[name] = {"kind": kind, "reason": reason}
        elif part.problem and not part.problem.permanent:
            log.warning("%s could not be described, so its extract will tell how it is: %s", name, part.problem.message)
        else:
            why = part.problem.message.splitlines()[0] if part.problem else "the response is no describe"
            found[name] = {"kind": "not_extractable", "reason": f"it could not be described: {why}"}
    if names:
        log.info("Described %s that describeGlobal does not say enough of", plural(len(names), "object"))
    return found


def _unknown_filters(where: Mapping[str, str], names: Sequence[str]) -> list[str]:
    known = {name.lower() for name in names}
    return [f"where has {name!r}, and the org has no such object." for name in where if name.lower() not in known]
