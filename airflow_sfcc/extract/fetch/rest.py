"""Landing a REST query: its pages one after another, many of them to a staged file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import pyarrow as pa

from airflow_sfcc.extract.convert.arrow_types import Converter, Hasher
from airflow_sfcc.extract.convert.json_reader import JsonPageReader, JsonRows
from airflow_sfcc.extract.convert.writers import EXTENSIONS, part_writer
from airflow_sfcc.extract.fetch.page_checks import OwnIds
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import Plan, StagedFile, page_name
from airflow_sfcc.extract.progress import Progress
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.stopping import Stop

T = TypeVar("T")

ROWS_PER_FILE = 1_000_000

ROW_GROUP_BYTES = 6 * 1024 * 1024
"""Of Parquet; most of what an extract by REST holds in memory. Narrow rows reach their number of rows before."""


class RestFetcher:
    """Lands the rows of one query, until `stop` is set. On failure it sets `stop` so that the prefetched page is not retried."""

    def __init__(
        self,
        client: SalesforceClient,
        plan: Plan,
        landing: Landing,
        stop: Stop,
        hasher: Hasher | None = None,
        *,
        calls: Callable[[], int],
    ) -> None:
        """`calls` tells how many API calls were made for the extract so far."""
        self._client = client.with_options(stop=stop)
        self._stop = stop
        self._plan = plan
        self._calls = calls
        self._landing = landing
        self._converter = Converter(plan.columns, hasher)

    def land(self) -> list[StagedFile]:
        """All rows. Raises IncompleteResultError when there are other than `totalSize` of them."""
        batches = self._batches()
        files: list[StagedFile] = []
        following = next(batches, None)
        while following is not None:
            file, following = self._land_file(len(files), following, batches)
            files.append(file)
        return files

    def _land_file(
        self, index: int, first: pa.RecordBatch, batches: Iterator[pa.RecordBatch]
    ) -> tuple[StagedFile, pa.RecordBatch | None]:
        """One file from `first` on, and the batch that comes after it."""
        name = self._landing.own(page_name(index, EXTENSIONS[self._plan.file_format]))
        batch: pa.RecordBatch | None = first
        rows = 0
        own_ids = OwnIds(self._plan)
        with self._landing.open_file(name) as file:
            writer = part_writer(self._plan.file_format, file, self._converter.schema, group_bytes=ROW_GROUP_BYTES)
            while batch is not None and rows < ROWS_PER_FILE:
                own_ids.take(batch)
                writer.write(batch)
                rows += batch.num_rows
                batch = next(batches, None)
            writer.finish()
        return StagedFile(index, name, rows, file.bytes, file.sha256, own_ids=own_ids.are_there), batch

    def _batches(self) -> Iterator[pa.RecordBatch]:
        rows = 0
        reader = JsonPageReader(self._converter.columns, self._plan.numbers)
        pages = self._client.query_pages(
            self._plan.soql,
            include_deleted=self._plan.include_deleted,
            read=reader.read,
        )
        progress = Progress(self._plan.sobject, None, self._calls, self._client.session.retries)
        with closing(one_ahead(pages)) as read_ahead, self._stop.set_by_failure():
            for page in read_ahead:
                progress.expected_rows = page.total_size
                if len(page.records):
                    yield self._typed(page.records, rows)
                    rows += len(page.records)
                    progress.add(len(page.records))
        progress.finish()

    def _typed(self, records: Any, first_row: int) -> pa.RecordBatch:
        if isinstance(records, JsonRows):
            return records.typed(self._converter, first_row)
        return self._converter.from_records(records, first_row)


def one_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, the next of which is fetched while one is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="query-page") as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
