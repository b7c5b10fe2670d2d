"""Batches of records that jobs of Bulk API 1.0 insert, update, upsert or delete.

Facts: Bulk API Developer Guide, "Create a Batch" and "Get Batch Results"; null is written `#N/A` in CSV, and an empty cell
changes nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from salesforce_localorg.async_jobs import AsyncJob
from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.records import Transaction
from salesforce_localorg.schema import SObject
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError
from salesforce_localorg.wire.written_values import check_flag, check_not_restricted, checked_values, repeated_keys

OPERATIONS = ("insert", "update", "upsert", "delete")
# Needs the permission "Bulk API Hard Delete", which nobody has unless an administrator gives it; the integration user has not.
HARD_DELETE = "hardDelete"
NO_HARD_DELETE = (
    "hardDelete operation requires special user profile permission, please contact your system administrator"
)
NULL = "#N/A"
MOST_RECORDS = 10_000
CHUNK = 200  # records that are saved together; Bulk API Developer Guide, "General Guidelines for Data Loads"
FIELDS_OF_RESULTS = ("Id", "Success", "Created", "Error")


@dataclass(frozen=True)
class Outcome:
    """What became of one record; `error` is `CODE:message:fields --`, empty where it was saved."""

    id: str = ""
    created: bool = False
    error: str = ""


class Order(Protocol):
    """What a job of either Bulk API does with its records."""

    @property
    def operation(self) -> str: ...

    @property
    def external_id_field(self) -> str | None: ...


class UnreadableBatchError(Exception):
    """The batch is no CSV or JSON of records."""


def read_records(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """The records of a batch. Raises UnreadableBatchError."""
    try:
        records = _from_json(body) if content_type == "JSON" else _from_csv(body)
    except (ValueError, csv.Error, RecursionError) as error:
        raise UnreadableBatchError(f"Failed to parse the batch: {error}") from None
    if len(records) > MOST_RECORDS:
        raise UnreadableBatchError(f"Records not processed: a batch holds at most {MOST_RECORDS} records.")
    return records


def _from_json(body: bytes) -> list[dict[str, Any]]:
    records = json.loads(body)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ValueError("it is no list of objects")
    return records


def _from_csv(body: bytes) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    records = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} has another number of cells than the header")
        records.append(cells(list(row), list(row.values())))
    return records


def cells(header: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """The values of a row: an empty cell changes nothing, and `Account.External_Id__c` names a parent by its key.

    With `Lead:Who.Email` the reference may lead to several objects (Bulk API guide, "Relationship Fields in a Header Row").
    """
    values: dict[str, Any] = {}
    for name, text in zip(header, row):
        value = None if text == NULL else text
        kind, _, path = name.rpartition(":")
        relationship, dot, key = path.partition(".")
        if text == "":
            continue
        if dot and value is not None:
            values[relationship] = {**({"attributes": {"type": kind}} if kind else {}), key: value}
        else:
            values[name] = value
    return values


def save(call: ApiCall, job: AsyncJob, records: list[dict[str, Any]]) -> list[Outcome]:
    """Do the job's operation with each record; a record that cannot be saved holds up no other."""
    sobject = call.org.schema.sobject(job.sobject)
    if sobject is None:
        raise UnreadableBatchError(f"InvalidEntity: {job.sobject} is no longer there.")
    return outcomes(call, job, sobject, records)


def outcomes(call: ApiCall, job: Order, sobject: SObject, records: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """What becomes of the records of a job, which are saved in chunks as Salesforce does."""
    key = job.external_id_field or "Id"
    found: list[Outcome] = []
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        repeated = repeated_keys(chunk, key) if job.operation == "upsert" and key.lower() != "id" else set()
        with call.org.records.all_or_nothing():
            found += [_outcome(call, job, sobject, record, repeated) for record in chunk]
    return found


def _outcome(
    call: ApiCall, job: Order, sobject: SObject, record: Mapping[str, Any], repeated: Collection[str]
) -> Outcome:
    """What becomes of one record."""
    try:
        with call.changing() as change:
            return _save(call, job, sobject, record, change, repeated)
    except ApiError as error:
        told = error.payload[0]
        fields = ", ".join(told.get("fields", ()))
        return Outcome(error=f"{told['errorCode']}:{told['message']}:{fields} --")
    except LookupError:
        return Outcome(error="INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:Id --")
    except (ValueError, OverflowError) as error:
        return Outcome(error=f"INVALID_TYPE_ON_FIELD_IN_RECORD:A value does not fit its field: {error}: --")


def _save(
    call: ApiCall,
    job: Order,
    sobject: SObject,
    record: Mapping[str, Any],
    change: Transaction,
    repeated: Collection[str],
) -> Outcome:
    values = {name: value for name, value in record.items() if name.lower() not in ("id", "attributes")}
    own_id = next((str(value) for name, value in record.items() if name.lower() == "id" and value), None)
    if job.operation == "insert":
        return Outcome(change.insert(sobject.name, checked_values(call, sobject, values)), created=True)
    if job.operation == "upsert":
        key = job.external_id_field or "Id"
        value = (
            own_id if key.lower() == "id" else next((v for n, v in values.items() if n.lower() == key.lower()), None)
        )
        if value is None and key.lower() != "id":
            raise ApiError(400, "MISSING_ARGUMENT", f"{key} not specified")
        if str(value).lower() in repeated:
            raise ApiError(400, "DUPLICATE_VALUE", f"Duplicate external id specified: {value}", fields=[key])
        found = [] if value is None else call.org.records.find_by(sobject.name, key, value)
        if len(found) > 1:
            raise ApiError(300, "DUPLICATE_EXTERNAL_ID", f"Duplicate external id specified: {value}", fields=[key])
        if not found and key.lower() == "id" and value is not None:
            raise LookupError(value)
        if not found:
            return Outcome(change.insert(sobject.name, checked_values(call, sobject, values)), created=True)
        own_id = found[0]
    record_id = _required_id(own_id)
    if job.operation == "delete":
        check_flag(sobject, "deletable", "delete")
        check_not_restricted(call, sobject, record_id)
        change.delete(sobject.name, record_id)
        return Outcome(record_id)
    change.update(sobject.name, record_id, checked_values(call, sobject, values, record_id=record_id))
    return Outcome(record_id)


def _required_id(given: str | None) -> str:
    if given is None:
        raise ApiError(400, "MISSING_ARGUMENT", "Id not specified", fields=["Id"])
    if not is_id(given):
        raise ApiError(400, "MALFORMED_ID", f"malformed id {given}", fields=["Id"])
    return full_id(given)


def results_csv(outcomes: list[Outcome]) -> str:
    """The results as CSV, in the order of the batch."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(FIELDS_OF_RESULTS)
    for each in outcomes:
        writer.writerow((each.id, _word(not each.error), _word(each.created), each.error))
    return written.getvalue()


def results_json(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """The results as JSON."""
    return [
        {
            "success": not each.error,
            "created": each.created,
            "id": each.id or None,
            "errors": [_error(each.error)] if each.error else [],
        }
        for each in outcomes
    ]


def _error(text: str) -> dict[str, Any]:
    code, _, message = text.removesuffix(" --").partition(":")
    message, _, fields = message.rpartition(":")
    return {"statusCode": code, "message": message, "fields": fields.split(", ") if fields else []}


def _word(value: bool) -> str:
    return "true" if value else "false"
