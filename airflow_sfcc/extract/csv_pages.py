"""Parsing a Bulk result page: CSV text to batches of strings, counted.

The dialect is the one of reference 3.8: every value quoted, quotes doubled, line breaks kept inside quotes, null and
empty both `""`. Texts such as NA and NULL are values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv

from airflow_sfcc.extract.columns import Column
from airflow_sfcc.extract.page_stream import PageStream
from airflow_sfcc.salesforce.errors import IncompleteResultError, SalesforceError, UnexpectedAnswerError

BLOCK_BYTES = 512 * 1024
LARGEST_BLOCK_BYTES = 256 * 1024 * 1024
"""A row longer than the block cannot be parsed; the page is then read again with a larger one, up to this."""


class ReadAgainError(SalesforceError):
    """A page has to be read again in another way; that will do."""


class RowTooLongError(ReadAgainError):
    """A row does not fit the block size; reading the page again with larger blocks mends it."""


def text_batches(stream: PageStream, columns: Sequence[Column], block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Batches of strings in the order of `columns`.

    A page without any byte has no rows (seen for empty results; reference 3.8). Raises UnexpectedAnswerError when the
    header is not that of `columns`, RowTooLongError, and IncompleteResultError when the CSV is broken.
    """
    header = header_names(stream)
    if header:
        yield from read_columns(stream, _in_header(header, columns), block_bytes)


def header_names(stream: PageStream) -> list[str]:
    """The names in the page's header, which is not taken; none for a page without any byte."""
    header = stream.peek_line().decode("utf-8-sig").strip()
    return [name.strip('"') for name in header.split(",")] if header else []


def read_columns(stream: PageStream, names: Sequence[str], block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Batches of strings of the columns with these names, spelled as in the header; the whole page is parsed for it."""
    try:
        yield from pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(block_size=block_bytes, use_threads=False),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as problem:
        if "straddling" in str(problem):
            raise RowTooLongError(f"A row is longer than {block_bytes:,} bytes.") from None
        if "Empty CSV" in str(problem):
            return  # a header without a line end, and nothing after it
        raise IncompleteResultError("A result page's CSV is broken; nothing of it was landed.") from problem


def _in_header(header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Each column's name in the header: Salesforce keeps the order of SELECT since v50, but names decide."""
    found = {name.lower(): name for name in header}
    wanted = [column.name.lower() for column in columns]
    if len(found) != len(header) or set(found) != set(wanted):
        missing = ", ".join(sorted(set(wanted) - set(found))) or "none"
        extra = ", ".join(sorted(set(found) - set(wanted))) or "none"
        raise UnexpectedAnswerError(
            f"A result page has other columns than the query asked for (missing: {missing}; unexpected: {extra}); nothing "
            "was landed. Did fields change while the job ran? Clear the task to run it again."
        )
    return [found[name] for name in wanted]
