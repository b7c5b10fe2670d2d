"""`sources.yml`: the tables as dbt's sources, with descriptions, tests and freshness.

Keys are where dbt 1.10 and newer want them (https://docs.getdbt.com/reference/source-properties). A source is read where its
files lie, by the adapter dbt-duckdb: `external_location` is the query of the current table. Whatever Salesforce says is text:
dbt renders Jinja in most of the file, and puts values between single quotes into SQL, so both are escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from airflow_sfcc.catalog.relations import Relation, relations_of
from airflow_sfcc.catalog.sentences import about, description, sql_type
from airflow_sfcc.catalog.tables import Column, Table
from airflow_sfcc.errors import OptionError
from airflow_sfcc.extract.current_table import current_table_sql, newest_extract_sql, read_at_sql

DEFAULT_SOURCE = "salesforce"
_HEADER = """\
# Made by `airflow-sfcc catalog`, which writes it anew: changes belong elsewhere.
# For dbt 1.10.5 or newer; `external_location` and `loaded_at_query` are for dbt-duckdb.
"""
_SOURCE = re.compile(r"[A-Za-z_]\w{0,99}")
_JINJA = re.compile(r"\{(?=[{%#])|(?<=\{)\{")
_NO_WRAPPING = 2**31
_SHORTEST_GRACE = timedelta(hours=1)


_READ_AS_BLANKS = re.compile("[\x85\u2028\u2029]")
"""Ends of lines to YAML, which are escaped in double quotes only."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes SQL as lines, not as one quoted text."""


def _as_lines(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = '"' if _READ_AS_BLANKS.search(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _as_lines)


@dataclass(frozen=True)
class Freshness:
    """How often new rows are expected; a run that is missed is worth a warning, two are an error."""

    every: timedelta

    @property
    def periods(self) -> dict[str, Any]:
        grace = max(self.every / 4, _SHORTEST_GRACE)
        return {"warn_after": _period(self.every + grace), "error_after": _period(2 * self.every + grace)}


def sources_yaml(tables: Sequence[Table], freshness: Mapping[str, Freshness], source: str = DEFAULT_SOURCE) -> str:
    """The file's content; `freshness` is that of each object for which it is known.

    Raises OptionError for a `source` that dbt and SQL could not use as a name.
    """
    if not _SOURCE.fullmatch(source):
        raise OptionError(f"{source!r} is no name of a dbt source: use letters, digits and underscores.")
    relations: dict[tuple[str, str], Relation] = {}
    whole = {table.sobject for table in tables if table.is_whole}
    for relation in relations_of(tables):
        if relation.is_only and relation.parent in whole:
            relations[relation.child, relation.column.name] = relation
    listed = [_table(table, relations, freshness.get(table.sobject), source) for table in tables]
    content = {"version": 2, "sources": [{"name": source, "description": _about_source(tables), "tables": listed}]}
    written: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_NO_WRAPPING)
    return _HEADER + written


def _about_source(tables: Sequence[Table]) -> str:
    instances = sorted({str(table.newest["instance"]) for table in tables if table.newest.get("instance")})
    return text(f"Extracts from Salesforce{': ' if instances else ''}{', '.join(instances)}.")


def _table(
    table: Table, relations: Mapping[tuple[str, str], Relation], freshness: Freshness | None, source: str
) -> dict[str, Any]:
    columns = [
        _column(column, list(_tests(table, column, relations.get((table.sobject, column.name)), source)))
        for column in table.columns
    ]
    found = {"name": table.sobject, "description": text(about(table)), "config": _config(table, freshness)}
    return {**{key: value for key, value in found.items() if value}, "columns": columns}


def _config(table: Table, freshness: Freshness | None) -> dict[str, Any]:
    location = location_sql(table)
    config: dict[str, Any] = {}
    if location:
        # The formatter puts values in the place of $name; the default one would do so with {name}, which SQL has.
        config["meta"] = {"external_location": text(f"({location})".replace("$", "$$")), "formatter": "template"}
    if freshness:
        config["loaded_at_query"] = text(read_at_sql(table.root))
        config["freshness"] = freshness.periods
    return config


def location_sql(table: Table) -> str | None:
    """The query that reads the table where it lies; None for CSV and JSON Lines."""
    if table.file_format != "parquet":
        return None
    return (
        current_table_sql(table.root)
        if table.has_ids and table.newest.get("cursor_field")
        else newest_extract_sql(table.root)
    )


def _column(column: Column, tests: list[Any]) -> dict[str, Any]:
    found = {
        "name": text(column.name),
        "data_type": sql_type(column.type),
        "description": text(description(column)),
        "quote": True,  # the files have Salesforce's spelling, and names such as Order or Owner.Name
    }
    return {**found, "data_tests": tests} if tests else found


def _tests(table: Table, column: Column, relation: Relation | None, source: str) -> Iterator[Any]:
    if column.name == "Id" and table.has_ids:
        yield "unique"
        yield "not_null"
    if relation is not None:
        # A warning: objects are read one after another, and the Run As user may not see each parent.
        to = {"to": f"source('{source}', '{relation.parent}')", "field": '"Id"'}
        yield {"relationships": {"arguments": to, "config": {"severity": "warn"}}}
    if column.has_own_values and column.field and column.field.type == "picklist" and column.field.values:
        values = {"values": [text(value.value.replace("'", "''")) for value in column.field.values]}
        severity = "error" if column.field.restricted else "warn"
        yield {"accepted_values": {"arguments": values, "config": {"severity": severity}}}


def text(value: str) -> str:
    """Text in which dbt finds no Jinja to run: it renders to what it was."""
    return _JINJA.sub("{{ '{' }}", value)


def _period(length: timedelta) -> dict[str, Any]:
    minutes = max(1, round(length.total_seconds() / 60))
    return {"count": minutes, "period": "minute"} if minutes % 60 else {"count": minutes // 60, "period": "hour"}
