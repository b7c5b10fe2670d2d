"""Fields whose values change while the record's stamp stays: formulas, roll-ups, fields of parents.

They are read of all records, with the Id and nothing else. Where a value differs from the current table, the record lands once
more as it is there, with the new values: it has the same stamp and was read later, so it counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from msgspec import structs

from airflow_sfcc.extract.convert.arrow_types import arrow_schema
from airflow_sfcc.extract.convert.writers import part_writer
from airflow_sfcc.extract.current_table import current_table_sql, duckdb_url
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.manifests import read_manifests
from airflow_sfcc.extract.model import Api, Column, Part, RunIdentity, StagedFile, part_name
from airflow_sfcc.extract.plan.api_choice import choose_api
from airflow_sfcc.extract.protect.hashing import HashKey
from airflow_sfcc.extract.storage import StoragePath
from airflow_sfcc.load.scratch import MEMORY_LIMIT, Scratch, literal, quoted, scratch
from airflow_sfcc.reconcile.beside import columns_of, plan_beside
from airflow_sfcc.reconcile.model import Compared
from airflow_sfcc.reconcile.source import compared_of
from airflow_sfcc.salesforce import soql
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.wording import plural

log = logging.getLogger(__name__)

PAGE_ROWS = 250_000


class _Refreshing(Extraction):
    """An extraction whose part is made of its staged files and of the current table."""

    merged: dict[Part, str] = {}  # noqa: RUF012

    def _parts_of(self, pages: Sequence[StagedFile]) -> dict[Part, str]:
        return self.merged


def refresh(
    client: SalesforceClient,
    destination: StoragePath,
    run: RunIdentity,
    *,
    wait: Callable[[Extraction], None],
    api: Api = "auto",
    hash_key: HashKey | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> dict[str, Any] | None:
    """Bring the calculated fields of a destination's current table up to date; returns what an extract returns.

    None where no value differs, or there is no such field. `wait` waits for the Bulk job of an extraction. Records that changed
    at or after the destination's watermark are left to the next extract. Raises StateError for a destination without a
    current table.
    """
    manifests = read_manifests(destination)
    calls = client.usage.calls
    if manifests:
        client.describe(str(manifests[-1]["sobject"]))  # after which the org's time is known
    compared = compared_of(destination, manifests, client.now)
    columns = columns_of(compared)
    stale = set(compared.newest.get("stale_fields") or ())
    calculated = [column for column in columns if column.name in stale]
    if not calculated:
        log.info("%s has no calculated fields in this extract", compared.sobject)
        return None
    extraction = _planned(client, destination, compared, run, calculated, api, hash_key)
    extraction.calls_before = calls
    try:
        extraction.start()
        wait(extraction)
        pages = extraction.land()
        rows = _merge(extraction, pages, columns, calculated, memory_limit)
        log.info(
            "%s: %s of %s differ in %s",
            compared.sobject,
            plural(rows, "record"),
            f"{sum(page.rows for page in pages):,}",
            ", ".join(column.name for column in calculated),
        )
        if rows:
            extraction.plan = structs.replace(extraction.plan, columns=columns)
            return extraction.commit(pages)
    except BaseException:
        extraction.abandon_jobs()
        extraction.discard()
        raise
    extraction.discard()
    return None


def _planned(
    client: SalesforceClient,
    destination: StoragePath,
    compared: Compared,
    run: RunIdentity,
    calculated: Sequence[Column],
    api: Api,
    hash_key: HashKey | None,
) -> _Refreshing:
    prefix = compared.prefix
    conditions = [*([f"({compared.where})"] if compared.where else []), *compared.since_condition]
    conditions.append(f"{prefix}{compared.cursor} < {soql.datetime_literal(compared.until)}")
    written = _as_written(compared)
    names = ", ".join([f"{prefix}Id", *(written.get(column.name, prefix + column.name) for column in calculated)])
    text = f"SELECT {names} FROM {compared.source} WHERE {' AND '.join(conditions)}"
    choice = choose_api(client, api, soql.scan(text), include_deleted=False)
    plan = plan_beside(
        client,
        compared,
        run,
        kind="refresh",
        soql=text,
        columns=(Column("Id", "id", "string", False), *calculated),
        api=choice.api,
        api_reason=choice.reason,
        page_size=PAGE_ROWS,
    )
    return _Refreshing(client, destination, plan, hash_key=hash_key)


def _as_written(compared: Compared) -> dict[str, str]:
    """How the extracts' query selects each column: `toLabel(Industry)` is called Industry, and is no Industry."""
    query = soql.scan(str(compared.newest["soql"]))
    names = [str(column["name"]) for column in compared.newest["schema"]]
    texts = [query.text[item.start : item.end] for item in query.items]
    return dict(zip(names, texts)) if len(names) == len(texts) else {}


def _merge(
    extraction: _Refreshing,
    pages: Sequence[StagedFile],
    columns: Sequence[Column],
    calculated: Sequence[Column],
    memory_limit: str,
) -> int:
    """Stage the records that differ, whole; returns how many they are."""
    landing = extraction.landing
    with scratch(memory_limit) as database:
        database.register(landing.destination)
        current = current_table_sql(landing.destination)
        _find_differing(database, [duckdb_url(landing.open_staged(page.name)) for page in pages], current, calculated)
        rows = int(database.value("SELECT count(*) FROM differing"))
        if not rows:
            return 0
        fresh = {column.name for column in calculated}
        values = ", ".join(f"{'d' if column.name in fresh else 'c'}.{quoted(column.name)}" for column in columns)
        merged = f'SELECT {values} FROM ({current}) AS c JOIN differing AS d ON d."Id" = c."Id" ORDER BY c."Id"'
        name, schema = part_name(0, "parquet"), arrow_schema(columns)
        staged = landing.own(f"merged-{name}")
        with landing.open_file(staged) as file:
            writer = part_writer("parquet", file, schema)
            for batch in database.batches(merged):
                (typed,) = pa.Table.from_batches([batch]).cast(schema).combine_chunks().to_batches() or [None]
                if typed is not None:
                    writer.write(typed)
            writer.finish()
    extraction.merged = {Part(name, rows, file.bytes, file.sha256): staged}
    return rows


def _find_differing(database: Scratch, files: Sequence[str], current: str, calculated: Sequence[Column]) -> None:
    """`differing`: Id and the new values of the records whose values are others in the current table."""
    names = [quoted(column.name) for column in calculated]
    if not files:
        columns = [f"{name} VARCHAR" for name in ('"Id"', *names)]
        database.empty("differing", columns)
        return
    listed = ", ".join(map(literal, files))
    differs = " OR ".join(f"n.{name} IS DISTINCT FROM c.{name}" for name in names)
    before = f'SELECT "Id", {", ".join(names)} FROM ({current})'
    database.run(
        f"CREATE OR REPLACE TEMP TABLE differing AS SELECT n.* FROM read_parquet([{listed}], hive_partitioning = false) AS n "
        f'JOIN ({before}) AS c ON c."Id" = n."Id" WHERE {differs}'
    )
