"""Responses without end, without bound or beyond any sense: each extract stops early, with a sentence, and lands nothing."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import IncompleteResultError, RowCountError, SfccError, UnexpectedResponseError
from airflow_sfcc.extract.convert import page_stream
from airflow_sfcc.extract.convert.page_stream import MOST_PAGE_BYTES
from tests.extract.runs import extract
from tests.storages import files_below
from tests.wire_server import SOBJECT, VERSION, Wire, described, wire

DATA = f"/services/data/v{VERSION}"
HEADER = b'"Id"\n'


@pytest.fixture
def said() -> Iterator[Wire]:
    with wire() as server:
        server.fields = [described("Id", "id")]
        yield server


def id_of(number: int) -> str:
    return f"001{number:012d}AAA"


def endless_records(rows: int, total: int, child: bool = False) -> Iterator[str]:
    """Responses to a query, each of which leads to another one."""
    for number in itertools.count():
        records = [{"Id": id_of(number * rows + row)} for row in range(rows)]
        link = f"{DATA}/query/0r8RO0000016PIAYA2-{number + 1}"
        page: dict[str, Any] = {"totalSize": total, "done": False, "nextRecordsUrl": link, "records": records}
        if child and not number:
            page = {"totalSize": 1, "done": True, "records": [{"Id": id_of(0), "Kids__r": page}]}
        yield json.dumps(page)


@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize(("rows", "total"), [(0, 5), (2, 7), (0, -1)])
def test_links_without_end(said: Wire, root: UPath, rows: int, total: int, child: bool) -> None:
    said.texts = endless_records(rows, total, child)
    with pytest.raises((IncompleteResultError, UnexpectedResponseError), match=r"sent \d+[;.]|announced more"):
        if child:
            list(said.client().query(f"SELECT Id, (SELECT Id FROM Kids__r) FROM {SOBJECT}"))
        else:
            extract(said, root, sobject=SOBJECT, api="rest")
    assert len(said.requests) < 120
    assert files_below(root) == {}


def page(*numbers: int) -> bytes:
    return HEADER + b"".join(f'"{id_of(number)}"\n'.encode() for number in numbers)


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("listed", [True, False])
def test_result_pages_without_end(said: Wire, root: UPath, listed: bool, rows: int) -> None:
    said.listed, said.total_rows = listed, 6
    said.endless_pages = lambda index: (page(*range(index * rows, (index + 1) * rows)), rows)
    with pytest.raises((RowCountError, UnexpectedResponseError), match=r"more than the 6 rows|without end"):
        extract(said, root, sobject=SOBJECT, api="bulk")
    assert len(said.requests) < 250
    assert files_below(root) == {}


def test_a_page_with_more_rows_than_reported_is_not_read_to_its_end(said: Wire, root: UPath) -> None:
    said.pages = [(page(*range(200_000)), 3)]
    with pytest.raises(RowCountError, match=r"reported to hold 3 rows and holds [\d,]+"):
        extract(said, root, sobject=SOBJECT, api="bulk")


def test_a_page_that_unpacks_without_end(said: Wire, root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_PAGE_BYTES > 1024**3, "Salesforce's largest page"
    monkeypatch.setattr(page_stream, "MOST_PAGE_BYTES", 4 * 1024**2)
    said.pages = [(page(*range(500_000)), 500_000)]
    with pytest.raises(UnexpectedResponseError, match=r"more than 4,194,304 bytes of text"):
        extract(said, root, sobject=SOBJECT, api="bulk")
    assert files_below(root) == {}


def test_a_header_of_a_million_names_takes_no_memory(said: Wire, root: UPath) -> None:
    """Packed it has a few kilobytes, and in memory each name takes many times its bytes."""
    said.pages = [(b'"ab",' * 2**20 + b'"Id"\n', 0)]
    tracemalloc.start()
    try:
        with pytest.raises(UnexpectedResponseError, match=r"a line of 5,[\d,]+ bytes, which names no columns"):
            extract(said, root, sobject=SOBJECT, api="bulk")
        assert tracemalloc.get_traced_memory()[1] < 60 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [" " * 5 + "9" * 5_000, "-1", "1e9", "٣", "9" * 30, "", "x"])
def test_numbers_in_headers_that_are_none(said: Wire, root: UPath, text: str) -> None:
    """They count as not told; the job's own number decides."""
    said.pages, said.page_headers = [(page(1, 2), 2)], {"Sforce-NumberOfRecords": text.encode().decode("latin-1")}
    assert extract(said, root, sobject=SOBJECT, api="bulk")["rows"] == 2


@pytest.mark.parametrize("number", ["9" * 5_000, "1" + "0" * 400, "1e400", "-1", '"x"', "[]", "true"])
@pytest.mark.parametrize("key", ["numberRecordsProcessed", "totalSize"])
def test_numbers_of_rows_that_are_none(said: Wire, root: UPath, key: str, number: str) -> None:
    if key == "totalSize":
        if number == "-1":
            pytest.skip("external objects, whose number of rows Salesforce does not know")
        said.text = f'{{"totalSize":{number},"done":true,"records":[{{"Id":"{id_of(1)}"}}]}}'
    else:
        said.pages, said.raw_job_keys = [(page(1, 2), 2)], f'"{key}":{number}'
    with pytest.raises(SfccError, match=r"[a-z]{4}.*\."):
        extract(said, root, sobject=SOBJECT, api="rest" if key == "totalSize" else "bulk")
    assert files_below(root) == {}


@pytest.mark.parametrize(("before", "after"), [('{"a":', "}"), ("[", "]")])
@pytest.mark.parametrize("depth", [200, 400, 900, 970, 2_000, 6_000, 9_900, 100_000])
def test_records_that_are_nested_too_deeply(said: Wire, root: UPath, depth: int, before: str, after: str) -> None:
    said.fields = [described("Id", "id"), described("Any__c", "anyType")]
    nested = before * depth + "1" + after * depth
    said.text = f'{{"totalSize":1,"done":true,"records":[{{"Id":"{id_of(1)}","Any__c":{nested}}}]}}'
    for read in (
        lambda: extract(said, root, sobject=SOBJECT, api="rest"),
        lambda: list(said.client().query(f"SELECT Id, Any__c FROM {SOBJECT}")),
    ):
        if depth < 300:
            read()
            continue
        with suppress(SfccError):  # how deep Python reads depends on its version
            read()
