"""One result page, from its open answer to a staged file of its own."""

from __future__ import annotations

import requests

from airflow_sfcc.extract.convert import Converter
from airflow_sfcc.extract.csv_pages import BLOCK_BYTES, LARGEST_BLOCK_BYTES, RowTooLongError, text_batches
from airflow_sfcc.extract.landing import Landing
from airflow_sfcc.extract.page_stream import PageStream
from airflow_sfcc.extract.pages import LandedPage, page_name
from airflow_sfcc.extract.parts import EXTENSIONS, part_writer
from airflow_sfcc.extract.plan import ExtractPlan
from airflow_sfcc.salesforce.bulk import ResultPage, next_locator, reported_rows
from airflow_sfcc.salesforce.errors import RowCountError, UnexpectedAnswerError


class PageFiles:
    """Writes the page files of one extract; safe to share between threads."""

    def __init__(self, plan: ExtractPlan, landing: Landing) -> None:
        self._plan = plan
        self._landing = landing
        self._converter = Converter(plan.columns)
        self._block_bytes = BLOCK_BYTES

    def write(self, page: ResultPage, response: requests.Response) -> LandedPage:
        """Land the page's rows.

        Raises RowCountError when they are not as many as Salesforce reports, IncompleteResultError when the body breaks
        off, and RowTooLongError, after which another try with larger blocks may succeed.
        """
        name = page_name(page.index, EXTENSIONS[self._plan.file_format])
        stream = PageStream(response)
        with self._landing.open_file(name) as file:
            writer = part_writer(self._plan.file_format, file, self._converter.schema)
            rows = 0
            try:
                for batch in text_batches(stream, self._plan.columns, self._block_bytes):
                    writer.write(self._converter.from_text(batch, rows))
                    rows += batch.num_rows
            except RowTooLongError:
                self._enlarge_blocks()
                raise
            writer.finish()
            _require_rows(page, reported_rows(response), rows)
        return LandedPage(page.index, name, rows, file.bytes, file.sha256, page.url, next_locator(response))

    def _enlarge_blocks(self) -> None:
        if self._block_bytes >= LARGEST_BLOCK_BYTES:
            raise UnexpectedAnswerError(
                f"A row is longer than {LARGEST_BLOCK_BYTES:,} bytes, which an extract does not carry."
            )
        self._block_bytes = min(self._block_bytes * 16, LARGEST_BLOCK_BYTES)


def _require_rows(page: ResultPage, reported: int | None, rows: int) -> None:
    if reported is not None and rows != reported:
        raise RowCountError(
            f"Result page {page.index} was reported to hold {reported:,} rows and holds {rows:,}; nothing was landed."
        )
