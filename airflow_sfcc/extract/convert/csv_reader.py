"""Parsing a Bulk result page: CSV text to batches, counted.

The dialect is the one of salesforce-protocol.md#csv-dialect: every value quoted, quotes doubled, line breaks kept inside
quotes, null and empty both `""`. Texts such as NA and NULL are values.
"""

from __future__ import annotations

import re
import struct
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from airflow_sfcc.errors import IncompleteResultError, UnexpectedResponseError
from airflow_sfcc.extract.convert.arrow_types import arrow_type
from airflow_sfcc.extract.convert.page_stream import PageStream
from airflow_sfcc.extract.convert.row_blocks import row_blocks
from airflow_sfcc.extract.model import Column
from airflow_sfcc.salesforce.error_tables import NOT_SALESFORCE

LONGEST_HEADER = 1024 * 1024
"""Bytes of the line with the names of the columns, each of which is longer in memory. A query has 100,000 characters at most."""

_FUNCTION = re.compile(r"[A-Za-z_]+\(.*\)|expr\d+", re.DOTALL)
_COLUMN_COUNT = re.compile(r"Expected (\d+) columns, got (\d+)")
_LONGEST_LINE_END = 2
_MOST_SHOWN = 20

_READ_BY_PARSER = frozenset({"boolean", "int64", "float64", "date32", "timestamp[ms, UTC]"})
"""Types whose values the CSV parser reads as `Converter` does."""


_MISREADS_NUL = [int(number) for number in re.findall(r"\d+", pa.__version__)[:3]] < [26, 0, 1]
"""Whether Arrow's parser overlooks quotes and commas near a NUL, and so changes values or breaks rows
(https://github.com/apache/arrow/issues/50481)."""

_PRIVATE_USE = range(0xE000, 0xF900)


class CsvPage:
    """One page's text: its header, then its rows, which can be read once.

    A page without any byte has no header and no rows (seen for empty results; salesforce-protocol.md#csv-dialect).
    """

    def __init__(self, stream: PageStream) -> None:
        self._ends_a_line = False
        self._blocks = self._looked_at(row_blocks(stream))
        self._first = next(self._blocks, None)
        self._header_bytes = _first_line(self._first)
        if self._header_bytes > LONGEST_HEADER:
            raise UnexpectedResponseError(
                f"A result page begins with a line of {self._header_bytes:,} bytes, which names no columns; nothing was landed. "
                f"{NOT_SALESFORCE}"
            )
        self.header = _names(self._first, self._header_bytes)
        self._begins_with_bom = self._first is not None and bytes(memoryview(self._first)[:3]) == BOM_UTF8

    @property
    def can_be_joined(self) -> bool:
        """Whether other pages' rows can be put after the text as it is; known once the rows are read."""
        return self._ends_a_line and not self._begins_with_bom

    def batches(self, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        """Batches of `columns`, in their order, for `Converter.from_csv`.

        Raises UnexpectedResponseError when the header is not that of `columns`, and what `batches_of` raises.
        """
        if self.header:
            yield from self.batches_of(columns, _in_header(self.header, columns))

    def batches_of(self, columns: Sequence[Column], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Batches of the columns that the header calls `names`; all others are parsed, and left out.

        Values are typed as far as the CSV parser can read them all. From the block on where it cannot, they are strings:
        another notation may still fit, and an error has to name the value. Raises IncompleteResultError when the CSV is
        broken, and what `row_blocks` raises.
        """
        text = _options(names, [pa.string()] * len(names))
        options = _options(names, [_read_type(column) for column in columns])
        for block in self._rows():
            try:
                batch = _parsed(block, self.header, options)
            except pa.ArrowInvalid:
                options = text
                batch = _parsed_text(block, self.header, text)
            yield batch

    def _looked_at(self, blocks: Iterable[pa.Buffer]) -> Iterator[pa.Buffer]:
        for block in blocks:
            _require_utf8(block)
            self._ends_a_line = memoryview(block)[-1] == ord("\n")
            yield block

    def _rows(self) -> Iterator[pa.Buffer]:
        if self._first is None:
            return
        rest = self._first.slice(self._header_bytes)
        if not _is_blank(rest):
            yield rest
        yield from (block for block in self._blocks if not _is_blank(block))


def _options(names: Sequence[str], types: Sequence[pa.DataType]) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(
        include_columns=names,
        column_types=dict(zip(names, types)),
        null_values=[""],
        true_values=["true"],
        false_values=["false"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        check_utf8=False,
    )


def _read_type(column: Column) -> pa.DataType:
    return arrow_type(column) if column.type in _READ_BY_PARSER else pa.string()


def _require_utf8(block: pa.Buffer) -> None:
    """Once for the whole block: a value cut out of it at quotes and commas is UTF-8 as well."""
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(struct.pack("=qq", 0, block.size)), block])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        raise IncompleteResultError("The text is not UTF-8.") from None


def _parsed(block: pa.Buffer, header: Sequence[str], convert: pa_csv.ConvertOptions) -> pa.RecordBatch:
    if _MISREADS_NUL and b"\0" in (text := block.to_pybytes()):
        return _parsed_without_nul(text, header, convert)
    return _parsed_block(block, header, convert)


def _parsed_without_nul(text: bytes, header: Sequence[str], convert: pa_csv.ConvertOptions) -> pa.RecordBatch:
    """The same, with a character that the block does not have in the place of NUL while it is parsed."""
    absent = next((sign for sign in map(chr, _PRIVATE_USE) if sign.encode() not in text), None)
    if absent is None:
        raise IncompleteResultError("The text has NUL and every character for private use.")
    batch = _parsed_block(pa.py_buffer(text.replace(b"\0", absent.encode())), header, convert)
    columns = [
        pc.replace_substring(values, absent, "\0") if pa.types.is_string(values.type) else values
        for values in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _parsed_block(block: pa.Buffer, header: Sequence[str], convert: pa_csv.ConvertOptions) -> pa.RecordBatch:
    """A block is parsed in one piece, so that nobody looks for the ends of its rows again."""
    read = pa_csv.ReadOptions(use_threads=False, block_size=block.size + 1, column_names=header)
    table = pa_csv.read_csv(pa.BufferReader(block), read_options=read, convert_options=convert)
    batches: list[pa.RecordBatch] = table.to_batches()  # one, or none where all lines are blank
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _parsed_text(block: pa.Buffer, header: Sequence[str], convert: pa_csv.ConvertOptions) -> pa.RecordBatch:
    try:
        return _parsed(block, header, convert)
    except pa.ArrowInvalid as problem:
        counts = _COLUMN_COUNT.search(str(problem))  # and no more of its text, which quotes rows
        what = f": a row has {counts[2]} columns, and the header {counts[1]}" if counts else ""
        raise IncompleteResultError(f"The CSV is broken{what}.") from None


def _first_line(block: pa.Buffer | None) -> int:
    """How many bytes the first line has, with its end."""
    if block is None:
        return 0
    found = memoryview(block).tobytes().find(b"\n")
    return found + 1 if found >= 0 else block.size


def _names(block: pa.Buffer | None, header_bytes: int) -> list[str]:
    if block is None:
        return []
    line: str = block.slice(0, header_bytes).to_pybytes().decode("utf-8-sig").strip()
    if len(line) > 1 and line[0] == line[-1] == '"':
        return line[1:-1].split('","')  # a function's arguments are divided by commas, too
    return [name.strip('"') for name in line.split(",")] if line else []


def _is_blank(block: pa.Buffer) -> bool:
    return block.size <= _LONGEST_LINE_END and not block.to_pybytes().strip()


def _in_header(header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Each column's name in the header: Salesforce keeps the order of SELECT since v50, but names decide."""
    found = {known.lower(): name for known, name in zip(_known_names(header, columns), header)}
    wanted = [column.name.lower() for column in columns]
    if not found.keys() & set(wanted):
        raise UnexpectedResponseError(
            f"A result page has none of the columns that the query asked for; nothing was landed. {NOT_SALESFORCE}"
        )
    if len(found) != len(header) or set(found) != set(wanted):
        raise UnexpectedResponseError(
            f"A result page has other columns than the query asked for (missing: {_listed(set(wanted) - set(found))}; "
            f"unexpected: {_listed(set(found) - set(wanted))}); nothing was landed. Did fields change while the job ran? "
            "Clear the task to run it again; where the query calls functions, use api='rest'."
        )
    return [found[name] for name in wanted]


def _known_names(header: Sequence[str], columns: Sequence[Column]) -> Sequence[str]:
    """The header with a column's name where it has a function. It is not documented what its column is called; where that is
    the call itself, the order decides."""
    if len(header) != len(columns):
        return header
    return [column.name if _FUNCTION.fullmatch(name) else name for name, column in zip(header, columns)]


def _listed(names: set[str]) -> str:
    """The names, or the first of many."""
    shown = sorted(names)[:_MOST_SHOWN]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "") or "none"
