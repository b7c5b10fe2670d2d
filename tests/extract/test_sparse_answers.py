"""Servers that say less, or say it otherwise, than the documents' examples: what is there is enough for an exact extract."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from upath import UPath

from airflow_sfcc.errors import (
    ConversionError,
    IncompleteResultError,
    JobFailedError,
    SfccError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.fetch.rest import one_ahead
from airflow_sfcc.extract.model import Request
from airflow_sfcc.extract.plan.planner import make_plan
from tests.extract.runs import extract, read_rows, run_identity
from tests.storages import files_below
from tests.wire_server import SOBJECT, Wire, wire

HEADER = ["Key__c", "Name", "Amount__c"]
"""Without an Id, since pages repeat here."""
ROWS = [["001000000000001AAA", 'a,"b"\nc', "1.5E7"], ["001000000000002AAA", "\u00e9", ""]]
VALUES = [
    {"Key__c": ROWS[0][0], "Name": ROWS[0][1], "Amount__c": 1.5e7},
    {"Key__c": ROWS[1][0], "Name": "\u00e9", "Amount__c": None},
]


@pytest.fixture
def said() -> Iterator[Wire]:
    with wire() as server:
        server.fields = [
            {"name": name, "type": kind} for name, kind in zip((*HEADER, "Id"), ("string", "string", "double", "id"))
        ]
        yield server


def body(*, end: str = "\n", ends: bool = True, quoted: bool = True, mark: str = "") -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted or set(text) & set(',"\n') else text

    lines = [",".join(cell(text) for text in row) for row in (HEADER, *ROWS)]
    return (mark + end.join(lines) + (end if ends else "")).encode()


def landed(said: Wire, folder: UPath, **request: Any) -> list[dict[str, object]]:
    manifest = extract(said, folder, sobject=SOBJECT, api="bulk", **{"fields": HEADER, **request})
    return read_rows(folder / f"extract={manifest['extract_id']}", manifest)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("job_version", [67.0, "67.0", None])
@pytest.mark.parametrize("counts", [True, False])
def test_jobs_that_tell_little(
    said: Wire, root: UPath, listed: bool, job_version: float | str | None, counts: bool
) -> None:
    said.listed, said.job_version, said.counts = listed, job_version, counts
    said.pages = [(body(), 2), (body(), 2)]
    assert landed(said, root) == VALUES * 2


@pytest.mark.parametrize("streams", [2, 4])
def test_so_many_pages_are_asked_for_at_once(said: Wire, root: UPath, streams: int) -> None:
    """None is answered before all are asked for."""
    said.pages = [(body(), 2)] * (2 * streams)
    said.side_by_side = threading.Barrier(streams, timeout=20)
    assert landed(said, root, parallel_pages=streams) == VALUES * (2 * streams)
    assert not said.side_by_side.broken


@pytest.mark.parametrize("blank", [b"\n", b"\n\n\n\n", b"\r\n\r\n\r\n"])
def test_a_page_of_blank_lines_has_no_rows(said: Wire, root: UPath, blank: bytes) -> None:
    header = body().partition(b"\n")[0] + b"\n"
    said.pages = [(body(), 2), (header + blank, 0), (body() + blank, 2)]
    assert landed(said, root) == VALUES * 2


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_other_ways_to_write_the_same_csv(
    said: Wire, root: UPath, packed: bool, end: str, ends: bool, quoted: bool, mark: str, file_format: str
) -> None:
    said.packed, said.pages = packed, [(body(end=end, ends=ends, quoted=quoted, mark=mark), 2)] * 2
    assert landed(said, root, file_format=file_format) == VALUES * 2


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize("packing", ["gzip", "x-gzip", "GZIP"])
def test_names_of_the_same_packing(said: Wire, root: UPath, packing: str, file_format: str) -> None:
    said.packing, said.pages = packing, [(body(), 2)]
    assert landed(said, root, file_format=file_format) == VALUES


def test_a_count_that_comes_later_than_the_state(said: Wire, root: UPath) -> None:
    said.early_count, said.pages = 0, [(body(), 2)]
    client = said.client()
    plan = make_plan(client, Request(sobject=SOBJECT, fields=HEADER, api="bulk"), run_identity())
    extraction = Extraction(client, root, plan)
    extraction.start()
    assert extraction.commit(extraction.land())["rows"] == 2
    assert said.early_count is None


def test_the_reason_of_a_failed_job_is_told_in_one_line(said: Wire, root: UPath) -> None:
    said.failure = "InvalidBatch : Failed to process query: INVALID_FIELD: \nSELECT x\n       ^\nNo such column 'x'."
    with pytest.raises(JobFailedError) as failed:
        landed(said, root)
    assert "INVALID_FIELD: SELECT x No such column 'x'. Check the spelling" in str(failed.value)


@pytest.mark.parametrize("text", [b"[]", b"\n", b"<html><body>Maintenance</body></html>"])
def test_a_page_that_is_no_csv_lands_nothing(said: Wire, root: UPath, text: bytes) -> None:
    said.pages = [(text, 2)]
    with pytest.raises((IncompleteResultError, UnexpectedResponseError), match="nothing was landed"):
        landed(said, root)
    assert files_below(root) == {}


def test_a_page_of_a_proxy_is_told_as_that(said: Wire, root: UPath) -> None:
    said.pages = [(b"<html><body>Please log in, or wait</body></html>", 2)]
    with pytest.raises(UnexpectedResponseError, match=r"none of the columns .* does no proxy or login page answer"):
        landed(said, root)


def test_of_many_columns_that_are_missing_the_first_are_told(said: Wire, root: UPath) -> None:
    said.fields = [*said.fields, *({"name": f"More_{number:03d}__c", "type": "string"} for number in range(800))]
    said.pages = [(body(), 2)]
    with pytest.raises(
        UnexpectedResponseError, match=r"missing: id, more_000__c, .*, more_018__c, …; unexpected: none"
    ):
        landed(said, root, fields=None)


@pytest.mark.parametrize("keys", [{"id": None}, {"id": ""}, {"state": None}, {"state": 3}])
def test_a_job_without_id_or_state_is_told_as_that(said: Wire, root: UPath, keys: dict[str, Any]) -> None:
    said.job_keys, said.pages = keys, [(body(), 2)]
    with pytest.raises(UnexpectedResponseError, match=r"without a usable id and state\. Try again"):
        landed(said, root)


@pytest.mark.parametrize("text", [body().replace("é".encode(), b"\xe9"), body().replace(b"Name", b"N\xe9me")])
def test_a_page_that_is_not_utf_8_lands_nothing(said: Wire, root: UPath, text: bytes) -> None:
    said.pages = [(text, 2)]
    with pytest.raises(IncompleteResultError, match=r"Result page 0 .* nothing was landed. The text is not UTF-8"):
        landed(said, root)
    assert files_below(root) == {}


RECORDS = ['{"attributes":{"type":"Thing__c"},"Id":"001000000000001AAA"}', '{"Id":"001000000000002AAA"}']


@pytest.mark.parametrize("size", ["5", "5.0"], ids=["decoded by type", "read by Python"])
@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain; charset=ISO-8859-1", "application/json;charset=latin1"]
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_is_utf_8_whatever_the_headers_say(said: Wire, root: UPath, size: str, kind: str, mark: str) -> None:
    said.fields = [{"name": "Name", "type": "string"}, {"name": "Size__c", "type": "int"}]
    record = f'{{"Name":"\u00e9\U0001f389","Size__c":{size}}}'
    said.kind, said.text = kind, f'{mark}{{"totalSize":1,"done":true,"records":[{record}]}}'
    manifest = extract(said, root, sobject=SOBJECT, api="rest")
    assert read_rows(root / f"extract={manifest['extract_id']}", manifest) == [{"Name": "é🎉", "Size__c": 5}]


@pytest.mark.parametrize("size", ["5", "5.0"], ids=["decoded by type", "read by Python"])
@pytest.mark.parametrize(
    "text", ["\udce9", "\udced\udca0\udc80", "\\ud800"], ids=["latin-1", "surrogate", "escaped surrogate"]
)
def test_records_with_bytes_that_are_no_text_land_nothing(said: Wire, root: UPath, size: str, text: str) -> None:
    said.fields = [{"name": "Name", "type": "string"}, {"name": "Size__c", "type": "int"}]
    said.records = [f'{{"Name":"{text}","Size__c":{size}}}']
    with pytest.raises(SfccError, match=r"not JSON|Name .* does not fit string"):
        extract(said, root, sobject=SOBJECT, api="rest")
    assert files_below(root) == {}


def test_external_objects_whose_number_of_rows_salesforce_does_not_know(said: Wire, root: UPath) -> None:
    """The first answer in the Apex Developer Guide, "queryMore with the Apex Connector Framework"."""
    said.records, said.batch, said.total_size = RECORDS, 1, -1
    manifest = extract(said, root, sobject=SOBJECT, fields=["Id"], api="rest")
    assert manifest["rows"] == 2
    assert said.client().count(f"SELECT Id FROM {SOBJECT} LIMIT 1") == 1


@pytest.mark.parametrize("total_size", [-1, 2])
def test_a_query_that_breaks_off_lands_nothing(said: Wire, root: UPath, total_size: int) -> None:
    said.records, said.batch, said.total_size, said.cut_short = RECORDS, 1, total_size, True
    with pytest.raises(IncompleteResultError, match="nothing was landed"):
        extract(said, root, sobject=SOBJECT, fields=["Id"], api="rest")
    assert files_below(root) == {}


@pytest.mark.parametrize("told", ['"totalSize":2,"done":true', '"totalSize":1,"done":false'])
def test_child_records_that_are_missing_are_an_error(said: Wire, told: str) -> None:
    said.records = [f'{{"Id":"001000000000001AAA","Kids__r":{{{told},"records":[{{"Id":"001000000000002AAA"}}]}}}}']
    with pytest.raises(IncompleteResultError, match="child records of one record and sent 1"):
        list(said.client().query(f"SELECT Id, (SELECT Id FROM Kids__r) FROM {SOBJECT}"))


def test_a_page_of_records_that_broke_off_is_asked_for_again_even_where_http_does_not_tell(
    said: Wire, root: UPath
) -> None:
    said.records, said.batch, said.framed, said.torn = RECORDS, 1, False, 1
    assert extract(said, root, sobject=SOBJECT, fields=["Id"], api="rest")["rows"] == 2
    assert said.torn == 0
    assert sum("/query?" in request for request in said.requests) == 1, "the query is not begun anew"


@pytest.mark.parametrize("packing", ["gzip", "X-GZip"])
@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]),
        lambda body: gzip.compress(body) + b"left over",
    ],
    ids=["one member", "two members", "followed by something"],
)
def test_ways_to_pack_records(said: Wire, root: UPath, pack: Callable[[bytes], bytes], packing: str) -> None:
    said.records, said.batch, said.pack, said.packing = RECORDS, 1, pack, packing
    assert extract(said, root, sobject=SOBJECT, fields=["Id"], api="rest")["rows"] == 2


@pytest.mark.parametrize(
    "spoil",
    [lambda packed: packed[: len(packed) // 2], lambda packed: packed[:-8] + bytes(8), lambda packed: b"no gzip data"],
    ids=["breaks off", "wrong checksum", "not packed"],
)
def test_packed_records_that_are_damaged_are_asked_for_again(
    said: Wire, root: UPath, spoil: Callable[[bytes], bytes]
) -> None:
    spoiled: list[bytes] = []

    def pack(body: bytes) -> bytes:
        if spoiled:
            return gzip.compress(body)
        spoiled.append(spoil(gzip.compress(body)))
        return spoiled[0]

    said.records, said.pack = RECORDS, pack
    assert extract(said, root, sobject=SOBJECT, fields=["Id"], api="rest")["rows"] == 2
    assert sum("/query?" in request for request in said.requests) == 2


def test_the_next_page_is_requested_while_one_is_converted(said: Wire) -> None:
    said.records, said.batch = RECORDS * 2, 1
    pages = one_ahead(said.client().query_pages(f"SELECT Id FROM {SOBJECT}"))
    for number in range(1, 4):
        next(pages)
        while sum("/query" in request for request in said.requests) == number:
            time.sleep(0.01)
    assert len(list(pages)) == 1


@pytest.mark.parametrize(
    ("answer", "said_of_it"),
    [
        ('{"totalSize":1,"done":false,"nextRecordsUrl":{"href":"/"},"records":[]}', "nextRecordsUrl that is no text"),
        ('{"totalSize":1,"done":true,"records":["001000000000001AAA"]}', "record that is no JSON object"),
        ('{"totalSize":true,"done":true,"records":[]}', "how many rows"),
        ('{"totalSize":1,"done":true,"records":[{"Kids__r":{"records":[7]}}]}', "record that is no JSON object"),
        ('{"results":[{"statusCode":"none","result":{}}]}', "without a list of records"),
    ],
)
def test_answers_of_another_shape_are_told_as_that(said: Wire, answer: str, said_of_it: str) -> None:
    said.text = answer
    with pytest.raises(UnexpectedResponseError, match=f"{said_of_it}.*Nothing was landed"):
        list(said.client().query(f"SELECT Id FROM {SOBJECT}"))


@pytest.mark.parametrize("results", ["null", "[]", '[{"statusCode":"none","result":{}}]', '[{"result":{}}]'])
def test_answers_to_a_batch_of_another_shape_are_told_as_that(said: Wire, results: str) -> None:
    said.text = f'{{"results":{results}}}'
    with pytest.raises(UnexpectedResponseError, match=r"without a result.*Nothing was landed"):
        list(said.client().query(f"SELECT Id FROM {SOBJECT} WHERE Name = '{'x' * 16_384}'"))


def test_after_a_failure_a_page_that_is_asked_for_ahead_is_not_asked_for_again(said: Wire, root: UPath) -> None:
    said.fields = [{"name": "Id", "type": "id"}, {"name": "Size__c", "type": "int"}]
    said.records, said.batch, said.breaks_down = ['{"Id":"001000000000001AAA","Size__c":1.5}'] * 2, 1, True
    with pytest.raises(ConversionError, match="Size__c"):
        extract(said, root, sobject=SOBJECT, api="rest")
    assert sum("/query" in request for request in said.requests) <= 2


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ('{"Id":"001000000000001AAA","Size__c":1.5}', ConversionError),
        ('{"Id":"001000000000001AAA"}', UnexpectedResponseError),
        ('{"Id":"001000000000001AAA","Size__c":}', UnexpectedResponseError),
    ],
)
def test_after_a_failure_a_page_that_is_asked_for_ahead_is_not_waited_for(
    said: Wire, root: UPath, record: str, error: type[Exception]
) -> None:
    """Whether the page before it cannot be converted or cannot even be read."""
    said.fields = [{"name": "Id", "type": "id"}, {"name": "Size__c", "type": "int"}]
    said.records, said.batch, said.answers_after = [record] * 2, 1, threading.Event()
    began, before = time.monotonic(), set(threading.enumerate())
    try:
        with pytest.raises(error):
            extract(said, root, sobject=SOBJECT, api="rest")
        assert time.monotonic() - began < 30, "half of the client's request_timeout"
        ours = {thread.name for thread in set(threading.enumerate()) - before if "page" in thread.name}
        assert not ours
    finally:
        said.answers_after.set()
    assert sum("/query" in request for request in said.requests) <= 2


@pytest.mark.parametrize("numbers", ["float", "decimal"])
def test_numbers_in_columns_of_any_type_stay_numbers(said: Wire, root: UPath, numbers: str) -> None:
    said.fields = [{"name": "Id", "type": "id"}, {"name": "NewValue", "type": "anyType"}]
    values = ["5.0", "true", "12", '"5.0"', "1.5E7", "10000000000.0", "1e-4", "-0.5", '{"latitude":50.93}']
    said.records = [f'{{"Id":"00100000000000{place}AAA","NewValue":{text}}}' for place, text in enumerate(values)]
    manifest = extract(said, root, sobject=SOBJECT, api="rest", numbers=numbers)
    landed_values = [row["NewValue"] for row in read_rows(root / f"extract={manifest['extract_id']}", manifest)]
    as_bulk_has_them = ["5.0", "true", "12", "5.0", "1.5E7", "1.0E10", "1.0E-4", "-0.5"]
    assert landed_values == [*as_bulk_has_them, '{"latitude": 50.93}']
