"""What extracts say of each Id, as SQL over their files.

Rows come with the types that the table has, and `_extract`, `_read` (when the extract was read, in ms) beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from airflow_sfcc.load.model import Extract, TableColumn
from airflow_sfcc.load.scratch import Scratch, duckdb_type, literal, quoted

INEXACT = "that is not exact as"
EXTRACT, READ = "_extract", "_read"
_FILE = "_file"
_FROM_PATHS = f"hive_partitioning = false, filename = '{_FILE}'"
"""No columns from folders such as `type=raw` above the destination, which would stand for the object's own."""


def rows_sql(scratch: Scratch, extracts: Sequence[Extract], columns: Sequence[TableColumn], where: str = "") -> str:
    """All rows of the extracts, as a SELECT. Columns that an extract does not have are null.

    Files with the same columns are read together: DuckDB would find a type for several in its own way, and each further
    SELECT takes memory.
    """
    groups: dict[object, list[Extract]] = {}
    for extract in extracts:
        if extract.files and not extract.carries:
            groups.setdefault(extract.columns, []).append(extract)
    for stored, extract in _by_stored_columns(scratch, [extract for extract in extracts if extract.carries]):
        groups.setdefault(stored, []).append(extract)
    selects = [_group_sql(scratch, group, columns, where) for group in groups.values()]
    return "\nUNION ALL ".join(selects) or _no_rows(columns)


def _by_stored_columns(scratch: Scratch, extracts: Sequence[Extract]) -> Iterator[tuple[str, Extract]]:
    """The extracts, each with files of the same columns and types only, and what these are. A file of rows that were carried
    over has those that it had."""
    files = [file for extract in extracts for file in extract.files]
    if not files:
        return
    column = "concat_ws(' ', name, type, logical_type, scale, precision)"
    stored: dict[str, str] = dict(
        scratch.rows(
            f"SELECT file_name, string_agg({column}, ', ' ORDER BY name) FROM parquet_schema([{_list(files)}]) GROUP BY file_name"
        )
    )
    for extract in extracts:
        for kind in dict.fromkeys(stored[file] for file in extract.files):
            yield kind, replace(extract, files=tuple(file for file in extract.files if stored[file] == kind))


def _group_sql(scratch: Scratch, extracts: Sequence[Extract], columns: Sequence[TableColumn], where: str) -> str:
    source = _parquet([file for extract in extracts for file in extract.files])
    found = {name.lower(): kind for name, kind in scratch.columns(source).items()}
    values = ", ".join(f"{cast(column, found.get(column.name.lower()))} AS {quoted(column.name)}" for column in columns)
    return f"SELECT {values}, reads.extract AS {EXTRACT}, {READ} FROM {source} AS files JOIN {_reads(extracts)}{where}"


def deletions_sql(extracts: Sequence[Extract]) -> str:
    """`Id`, `DeletedDate` of all records that the extracts know to be deleted, as a SELECT."""
    having = [extract for extract in extracts if extract.deleted_files]
    if not having:
        return f'SELECT NULL::VARCHAR AS "Id", NULL::TIMESTAMPTZ AS "DeletedDate", 0::BIGINT AS {READ} WHERE false'
    source = _parquet([file for extract in having for file in extract.deleted_files])
    return (
        f'SELECT files."Id", files."DeletedDate"::TIMESTAMPTZ AS "DeletedDate", {READ} FROM {source} AS files '
        f"JOIN {_reads(having)}"
    )


def cast(column: TableColumn, found: str | None) -> str:
    """A value of DuckDB's type `found` as the column's type; text of times is as Salesforce writes it.

    A float that the column's decimals do not hold exactly is an error, with INEXACT in its text.
    """
    if found is None:
        return f"NULL::{duckdb_type(column.type)}"
    name = quoted(column.name)
    if found == duckdb_type(column.type):
        return name
    if column.type == "string" and found == "TIME":
        return f"strftime(DATE '1970-01-01' + {name}, '%H:%M:%S.%g')"
    if column.type == "string" and found == "TIMESTAMP WITH TIME ZONE":
        return f"strftime(make_timestamp(epoch_us({name})), '%Y-%m-%dT%H:%M:%S.%gZ')"
    if column.type == "string" and found == "DOUBLE":
        return f"replace({name}::VARCHAR, 'e+', 'e')"  # DuckDB 1 and 2 write exponents differently
    kind = duckdb_type(column.type)
    if column.type.startswith("decimal") and found == "DOUBLE":
        problem = literal(f"{column.name} has a value {INEXACT} {column.type}")
        text = f"{name}::VARCHAR"  # DuckDB's own cast of a float multiplies it, which changes the last of 17 digits
        fits = f"TRY_CAST({text} AS {kind})::DOUBLE IS NOT DISTINCT FROM {name}"
        return f"CASE WHEN {fits} THEN {text}::{kind} ELSE error({problem}) END"
    return f"{name}::{kind}"


def _parquet(files: Sequence[str]) -> str:
    return f"read_parquet([{_list(files)}], union_by_name = true, {_FROM_PATHS})"


def _list(files: Sequence[str]) -> str:
    return ", ".join(map(literal, files))


def _reads(extracts: Sequence[Extract]) -> str:
    """The extracts, and the condition on which a file is of one: its folder."""
    values = ", ".join(f"({literal(extract.extract_id)}, {extract.read_ms})" for extract in extracts)
    return (
        f"(VALUES {values}) AS reads(extract, {READ}) "
        f"ON 'extract=' || reads.extract = parse_filename(parse_dirpath(files.{_FILE}))"
    )


def _no_rows(columns: Sequence[TableColumn]) -> str:
    values = ", ".join(f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}" for column in columns)
    return f"SELECT {values}, NULL::VARCHAR AS {EXTRACT}, 0::BIGINT AS {READ} WHERE false"
