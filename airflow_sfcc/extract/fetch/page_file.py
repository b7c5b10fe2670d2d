"""One result page, from its open answer to a staged file of its own.

For CSV files a page's gzip data is kept as it came, when it says what the file is to say: the same columns in the same
order, and every value one that its column's type can hold. It is unpacked and parsed beside that, so it is verified
like the pages that are converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pyarrow as pa
import requests

from airflow_sfcc.errors import ContentChangedError, RowCountError
from airflow_sfcc.extract.convert.arrow_types import Converter, Hasher
from airflow_sfcc.extract.convert.csv_reader import CsvPage
from airflow_sfcc.extract.convert.page_stream import PageStream
from airflow_sfcc.extract.convert.writers import EXTENSIONS, CountedFile, Dictionaries, part_writer
from airflow_sfcc.extract.fetch.page_checks import OwnIds, PageIds
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import Column, Plan, StagedFile, page_name
from airflow_sfcc.salesforce.bulk import ResultPage, next_locator, reported_rows
from airflow_sfcc.salesforce.content_coding import is_gzip
from airflow_sfcc.wording import plural


class PageFiles:
    """Writes the page files of one extract; safe to share between threads."""

    def __init__(self, plan: Plan, landing: Landing, hasher: Hasher | None = None) -> None:
        self._plan = plan
        self._landing = landing
        self._converter = Converter(plan.columns, hasher)
        self._dictionaries = Dictionaries()
        self._converts_csv = any(column.hashed or column.type.startswith("decimal") for column in plan.columns)

    def write(self, page: ResultPage, response: requests.Response, ids: PageIds) -> StagedFile:
        """Land the page's rows, and take its Ids.

        Raises RowCountError when they are not as many as Salesforce reports, IncompleteResultError when the body breaks
        off, and ContentChangedError, after which another attempt converts the page.
        """
        name = self._landing.own(page_name(page.index, EXTENSIONS[self._plan.file_format]))
        as_sent = self._plan.file_format == "csv" and is_gzip(response) and not self._converts_csv
        with self._landing.open_file(name) as file:
            rows = _Rows(page, reported_rows(response), OwnIds(self._plan))
            if as_sent:
                self._keep(response, file, rows, ids)
            else:
                self._convert(response, file, rows, ids)
            rows.require_all()
        told = next_locator(response)
        return StagedFile(
            page.index, name, rows.number, file.bytes, file.sha256, page.url, told, rows.own_ids.are_there
        )

    def _convert(self, response: requests.Response, file: CountedFile, rows: _Rows, ids: PageIds) -> None:
        """Write typed values."""
        schema = self._converter.schema
        writer = part_writer(self._plan.file_format, file, schema, dictionaries=self._dictionaries)
        for batch in CsvPage(PageStream(response)).batches(self._converter.columns):
            typed = self._converter.from_csv(batch, rows.number)
            rows.add(typed)
            writer.write(typed)
            ids.take(typed)
        writer.finish()

    def _keep(self, response: requests.Response, file: CountedFile, rows: _Rows, ids: PageIds) -> None:
        """Write the body as it came, and verify it."""
        try:
            self._verify(CsvPage(PageStream(response, keep=file.write)), rows, ids)
        except ContentChangedError:
            self._converts_csv = True
            raise

    def _verify(self, page: CsvPage, rows: _Rows, ids: PageIds) -> None:
        if page.header != [column.name for column in self._plan.columns]:
            raise ContentChangedError("A result page's header is not that of the file.")
        typed = _typed_columns(self._plan.columns)
        converter = Converter(typed)
        for batch in page.batches_of(typed, [column.name for column in typed]):
            converted = converter.from_csv(batch, rows.number)
            _require_plain_integers(batch, converted)
            rows.add(converted)
            ids.take(converted)
        if not page.can_be_joined:
            raise ContentChangedError("A result page begins with a byte order mark, or ends without a line break.")


class _Rows:
    """Counts a page's rows, and stops at the first beyond those that Salesforce reported for it, or at what `own_ids` raises."""

    def __init__(self, page: ResultPage, reported: int | None, own_ids: OwnIds) -> None:
        self._page = page
        self._reported = reported
        self.own_ids = own_ids
        self.number = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.number += batch.num_rows
        if self._reported is not None and self.number > self._reported:
            self._refuse(self._reported)
        self.own_ids.take(batch)

    def require_all(self) -> None:
        """Raise RowCountError when there are not as many as Salesforce reported."""
        if self._reported is not None and self.number != self._reported:
            self._refuse(self._reported)

    def _refuse(self, reported: int) -> NoReturn:
        raise RowCountError(
            f"Result page {self._page.index} of Bulk job {self._page.job_id} was reported to hold {plural(reported, 'row')} "
            f"and holds {self.number:,}; nothing was landed. Clear the task to run it again."
        )


def _typed_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns whose text may not fit their type, and the Id; or any one column, to count rows by."""
    return [column for column in columns if column.type != "string" or column.name == "Id"] or list(columns[:1])


def _require_plain_integers(read: pa.RecordBatch, typed: pa.RecordBatch) -> None:
    """Salesforce writes integers as `5.0` or `9.0E7` at times, which readers of CSV take for no integer.

    Source: salesforce-protocol.md#csv-dialect.
    """
    for column, field in zip(read.columns, typed.schema):
        if pa.types.is_integer(field.type):
            try:
                column.cast(pa.int64())
            except pa.ArrowInvalid:
                raise ContentChangedError(f"Column {field.name} has integers in another notation.") from None
