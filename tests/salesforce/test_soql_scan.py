"""The client's reading of a query is the same as a whole parser's, on generated queries and mutants of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from salesforce_localorg.soql import SoqlError, parse
from salesforce_localorg.soql.ast import CallItem, ChildItem, FieldItem, Query
from salesforce_localorg.soql.rules import is_grouped
from soql_judge.texts import texts
from soql_judge.world import World, open_world

from airflow_sfcc.salesforce import soql

ROWS = {
    "User": 5,
    "Account": 20,
    "Contact": 20,
    "Case": 10,
    "Event": 10,
    "Task": 10,
    "Invoice__c": 20,
    "Opportunity": 9,
}
ROWS |= {"Lead": 5}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    found = open_world(ROWS)
    yield found
    found.records.close()


def test_scanning_agrees_with_parsing(world: World) -> None:
    checked = 0
    for text in itertools.islice(texts(world, 777), 600):
        try:
            parsed = parse(text)
        except SoqlError:
            continue
        checked += 1
        scanned = soql.scan(text)
        assert seen_by_client(scanned) == seen_by_org(parsed), text
        parse(scanned.counting())
    assert checked > 200


def seen_by_client(query: soql.Query) -> Any:
    items = [(item.kind, item.text if item.kind == "field" else item.function, item.alias) for item in query.items]
    return items, query.sobject, query.alias, query.is_aggregate, "OFFSET" in query.clauses


def seen_by_org(query: Query) -> Any:
    items: list[tuple[str, str | None, str | None]] = []
    for item in query.select:
        if isinstance(item, FieldItem):
            items.append(("field", str(item.path), item.alias))
        elif isinstance(item, CallItem):
            items.append(("function", item.call.function, item.alias))
        else:
            items.append(("subquery" if isinstance(item, ChildItem) else "typeof", None, None))
    return items, str(query.sobject), query.alias, is_grouped(query), query.offset is not None


def test_control_characters_travel_as_escapes() -> None:
    assert soql.literal("a\0b\x1f\n") == r"'a\u0000b\u001f\n'"
