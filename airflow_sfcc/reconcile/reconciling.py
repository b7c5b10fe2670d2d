"""One reconciliation, from manifests to a result."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_sfcc.extract.manifests import Manifest, read_manifests
from airflow_sfcc.extract.model import DEFAULT_LAG, RunIdentity
from airflow_sfcc.extract.plan.quirks import has_bin
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.load.scratch import MEMORY_LIMIT, scratch
from airflow_sfcc.load.targets import Target
from airflow_sfcc.reconcile.heal import heal
from airflow_sfcc.reconcile.local_side import LocalSide
from airflow_sfcc.reconcile.model import KINDS, MEANING, Compared, Findings
from airflow_sfcc.reconcile.org_side import OrgSide
from airflow_sfcc.reconcile.search import Search
from airflow_sfcc.reconcile.source import compared_of
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.timestamps import iso
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

MOST_NAMED = 100
"""Ids of each kind in the result."""


@dataclass(frozen=True)
class ReconcileOptions:
    """Names and meanings are those of SalesforceReconcileOperator."""

    heal: bool = False
    lag: timedelta = DEFAULT_LAG
    max_calls: int = 100
    memory_limit: str = MEMORY_LIMIT


def reconcile(
    client: SalesforceClient,
    destination: StoragePath,
    run: RunIdentity,
    options: ReconcileOptions | None = None,
    *,
    target: Target | None = None,
    hash_key: HashKey | None = None,
) -> dict[str, Any]:
    """Compare what landed in a destination, or in a table that was loaded from it, with the org; heal it if that is asked for.

    Returns `sobject, compared, table, until, rows, is_right, wrong, ids, in_flight, outside, unresolved, healed, not_seen,
    api_calls, seconds`. Raises StateError, QueryError and TableError for what cannot be compared.
    """
    options = options or ReconcileOptions()
    started, calls = time.monotonic(), client.usage.calls
    manifests = read_manifests(destination)
    sobject = str(manifests[-1]["sobject"]) if manifests else ""
    describe = client.describe(sobject) if sobject else {}
    now = client.now
    compared = compared_of(destination, manifests, now - options.lag)
    logs_deletions = bool(describe.get("replicateable", True))
    org = OrgSide(client, compared, has_bin(describe), logs_deletions)
    with scratch(options.memory_limit) as database:
        database.register(destination)
        local = LocalSide(database, compared)
        if target is None:
            local.read_destination(destination, manifests)
        else:
            local.read_table(destination, manifests, target)
        rows = local.rows
        findings = Search(org, local, compared, max_calls=options.max_calls).run()
    healed = []
    if options.heal and findings.wrong:
        healed = heal(client, destination, compared, findings, run, hash_key=hash_key)
    return {
        "sobject": compared.sobject,
        "compared": list(compared.dimensions),
        "table": target.name if target else None,
        "until": iso(compared.until),
        "rows": rows,
        "is_right": findings.is_right,
        "wrong": {kind: len(findings.ids([kind])) for kind in KINDS},
        "ids": {kind: ids[:MOST_NAMED] for kind in KINDS if (ids := findings.ids([kind]))},
        "in_flight": findings.in_flight,
        "outside": findings.outside,
        "unresolved": findings.unresolved,
        "healed": [result["manifest"] for result in healed],
        "not_seen": not_seen(compared, findings, logs_deletions=logs_deletions),
        "api_calls": client.usage.calls - calls,
        "seconds": round(time.monotonic() - started, 3),
    }


def not_seen(compared: Compared, findings: Findings, *, logs_deletions: bool) -> list[str]:
    """What this comparison could not see, in sentences."""
    newest: Manifest = compared.newest
    told = [
        f"Values that change while {compared.cursor} stays"
        + (f", such as {', '.join(stale[:5])}" if (stale := newest.get("stale_fields")) else "")
        + ".",
        "A record whose last two changes lie in the same hour and of which the last one is missing, unless it is the oldest or "
        f"newest of an interval of {' or '.join(compared.dimensions)}.",
        "Errors that cancel each other out in every interval.",
        "Records that the Run As user may not see.",
    ]
    if findings.in_flight:
        told.append(
            f"{plural(findings.in_flight, 'record')} that changed since {iso(compared.until)}: the next extract brings them."
        )
    if findings.outside:
        told.append(
            f"{plural(findings.outside, 'record')} that no longer {'meets' if findings.outside == 1 else 'meet'} the extracts' "
            "condition, and stay as they were when they did."
        )
    if compared.since is not None:
        told.append(f"Records that did not change since {iso(compared.since)}, with which the extracts begin.")
    if compared.created is None:
        told.append("Intervals of CreatedDate, which the extracts do not have.")
    if not logs_deletions:
        told.append(
            f"Whether a record that is gone went before or after {iso(compared.until)}, since Salesforce keeps no log of "
            f"deletions for {compared.sobject}."
        )
    return told


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people: what was compared, what is wrong, and what was not seen."""
    told = [
        f"{result['sobject']}: {plural(result['rows'], 'record')} compared with the org by intervals of "
        f"{' and '.join(result['compared'])}, as of {result['until']}, with {plural(result['api_calls'], 'API call')}"
    ]
    for kind, number in result["wrong"].items():
        if number:
            told.append(f"{number:,} {kind.replace('_', ' ')} ({MEANING[kind]}): {', '.join(result['ids'][kind][:5])}")
    told += [f"Differs, and no record explains it: {each}" for each in result["unresolved"]]
    told += [f"Not seen: {each}" for each in result["not_seen"]]
    return told
