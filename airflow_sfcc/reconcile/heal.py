"""An extract of exactly the records that are wrong, committed beside the others.

It is an incremental one without a window: it moves no watermark. Its manifest has the kind heal, and what it says of a record
that the org had when it was read overrules deletions from before (see `current_table`). The ids that the org deleted lie in
its `deleted-00000`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.incremental.deletions import Deletions
from airflow_sfcc.extract.incremental.side_files import NO_SIDE_FILES, SideFiles, write_deletions
from airflow_sfcc.extract.manifests import Manifest
from airflow_sfcc.extract.model import Part, RunIdentity
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.reconcile.beside import columns_of, plan_beside
from airflow_sfcc.reconcile.model import Compared, Findings, Kind
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient

LONGEST_QUERY = 100_000
"""Characters that a query may have (salesforce-protocol.md#rest-queries)."""

IDS_AT_ONCE = 4_000
"""Records of one healing extract, at most: an object of many fields leaves less room for Ids in its query."""

_ID_LENGTH = len("'001000000000001AAA', ")

READ_AGAIN: tuple[Kind, ...] = ("lost", "stale", "doubled", "wrongly_deleted")


class _Healing(Extraction):
    """An extraction that commits deletions which are known already."""

    gone: Mapping[str, datetime] = {}

    def _side_files(self, parts: dict[Part, str], before: Manifest | None) -> SideFiles:
        if not self.gone:
            return NO_SIDE_FILES
        part = write_deletions(
            self.plan, Deletions(self.gone, None), lambda name: self.landing.open_file(self.landing.own(name))
        )
        return SideFiles(deleted=(part,))


def heal(
    client: SalesforceClient,
    destination: StoragePath,
    compared: Compared,
    findings: Findings,
    run: RunIdentity,
    *,
    hash_key: HashKey | None = None,
) -> list[dict[str, Any]]:
    """Read the wrong records, and commit them with the deletions that were missing; returns what an extract returns, of each."""
    gone = {
        each: max(filter(None, (findings.wrong[each].deleted_at, compared.until)))
        for each in findings.ids(["not_deleted"])
    }
    results = []
    room = (LONGEST_QUERY - len(_query(compared, []))) // _ID_LENGTH
    for number, ids in enumerate(_chunks(findings.ids(READ_AGAIN), max(1, min(IDS_AT_ONCE, room)))):
        soql_text = _query(compared, ids)
        plan = plan_beside(
            client, compared, run, kind="heal", soql=soql_text, columns=columns_of(compared), number=number
        )
        extraction = _Healing(client, destination, plan, hash_key=hash_key)
        extraction.calls_before = client.usage.calls
        extraction.gone = gone if number == 0 else {}
        results.append(_committed(extraction, reads=bool(ids)))
    return results


def _committed(extraction: _Healing, *, reads: bool) -> dict[str, Any]:
    try:
        extraction.start()
        return extraction.commit(extraction.land() if reads else [])
    except BaseException:
        extraction.discard()
        raise


def _query(compared: Compared, ids: Sequence[str]) -> str:
    """The newest extract's query, of these records."""
    query = soql.scan(str(compared.newest["soql"]))
    selected = query.text[query.items[0].start : query.items[-1].end]
    listed = ", ".join(map(soql.literal, ids)) or "null"
    return f"SELECT {selected} FROM {compared.source} WHERE {compared.prefix}Id IN ({listed})"


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """At least one, since deletions may be all there is to commit."""
    for start in range(0, max(len(ids), 1), size):
        yield ids[start : start + size]
