"""sObject Collections: up to 200 records in one call, each with a result of its own.

Facts: REST API Developer Guide, "sObject Collections".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from salesforce_localorg.ids import full_id, is_id
from salesforce_localorg.records.transaction import Transaction
from salesforce_localorg.schema import SObject
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, NotAllError
from salesforce_localorg.wire.written_values import check_not_restricted, checked_values, repeated_keys, visible_field

MOST_CHANGED = 200
MOST_READ = 2000
ROLLED_BACK = "Record rolled back because not all records were valid and the request was using AllOrNone header"
Step = Callable[[Transaction], dict[str, Any]]


class _RecordError(Exception):
    """Why one record of the call was refused."""

    def __init__(self, code: str, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        error = {"statusCode": code, "message": message, "fields": list(fields)}
        self.result: dict[str, Any] = {"success": False, "errors": [error]}


def create(call: ApiCall) -> Answer:
    """POST /composite/sobjects"""

    def step(record: dict[str, Any]) -> Step:
        sobject, values = _typed(call, record)
        if any(name.lower() == "id" for name in values):
            raise _RecordError("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ("Id",))
        checked = _checked(call, sobject, values, None)
        return lambda change: _saved(change.insert(sobject.name, checked))

    return _each(call, _records(call), step)


def update(call: ApiCall) -> Answer:
    """PATCH /composite/sobjects"""

    def step(record: dict[str, Any]) -> Step:
        sobject, values = _typed(call, record)
        record_id = _own_id(values)
        checked = _checked(call, sobject, values, record_id)
        _check_there(call, sobject, record_id)

        def run(change: Transaction) -> dict[str, Any]:
            change.update(sobject.name, record_id, checked)
            return _saved(record_id)

        return run

    return _each(call, _records(call), step)


def upsert(call: ApiCall) -> Answer:
    """PATCH /composite/sobjects/X/{field}: records are changed where one holds their value in the field, else created"""
    target = call.sobject()
    key = visible_field(call, target, call.params["field"]).name
    records = _records(call)
    repeated = repeated_keys(records, key)

    def step(record: dict[str, Any]) -> Step:
        sobject, values = _typed(call, record)
        named = next((name for name in values if name.lower() == key.lower()), None)
        if sobject.name != target.name or named is None:
            raise _RecordError(
                "INVALID_FIELD", f"Each record must be of type {target.name} and name its {key}.", (key,)
            )
        value = values.pop(named)
        is_new_by_id = key == "Id" and value is None
        if value in (None, "") and not is_new_by_id:
            raise _RecordError("MISSING_ARGUMENT", f"{key} not specified")
        if key != "Id" and str(value).lower() in repeated:
            raise _RecordError("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", (key,))
        ids = [] if is_new_by_id else call.org.records.find_by(sobject.name, key, value)
        if len(ids) > 1:
            raise _RecordError("DUPLICATE_EXTERNAL_ID", f"Duplicate external id specified: {value}", (key,))
        if not ids and not is_new_by_id:
            values = {**values, key: value}
        with _telling(created=not ids):
            checked = _checked(call, sobject, values, ids[0] if ids else None)

        def run(change: Transaction) -> dict[str, Any]:
            with _telling(created=not ids):
                if not ids:
                    return {**_saved(change.insert(sobject.name, checked)), "created": True}
                change.update(sobject.name, ids[0], checked)
                return {**_saved(ids[0]), "created": False}

        return run

    return _each(call, records, step)


@contextmanager
def _telling(*, created: bool) -> Iterator[None]:
    """Results of an upsert say whether the record was to be created, also where that failed."""
    try:
        yield
    except _RecordError as failure:
        failure.result["created"] = created
        raise
    except (ValueError, OverflowError) as error:
        unfit = _unfit(error)
        unfit.result["created"] = created
        raise unfit from None


def delete(call: ApiCall) -> Answer:
    """DELETE /composite/sobjects?ids=A,B&allOrNone=true"""

    def step(given: str) -> Step:
        if not is_id(given):
            raise _RecordError("MALFORMED_ID", f"malformed id {given}")
        record_id = full_id(given)
        sobject = next((each for each in call.org.schema if each.key_prefix == record_id[:3]), None)
        if sobject is None or not call.org.viewer.sees_object(sobject.name):
            raise _RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if not sobject.flag("deletable"):
            raise _RecordError("INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support delete")
        name = sobject.name
        _check_there(call, sobject, record_id)
        try:
            check_not_restricted(call, sobject, record_id)
        except ApiError as error:
            raise _told(error) from None

        def run(change: Transaction) -> dict[str, Any]:
            change.delete(name, record_id)
            return _saved(record_id)

        return run

    ids = [each.strip() for each in call.query.get("ids", "").split(",") if each.strip()]
    return _each(call, _limited(ids), step, all_or_none=call.query.get("allOrNone", "").lower() == "true")


def read(call: ApiCall) -> Answer:
    """GET /composite/sobjects/X?ids=A,B&fields=C,D, or POST with the same two as lists: null for those not found"""
    sobject = call.sobject()
    if call.method == "POST":
        body = call.json_object()
        ids, fields = _texts(body, "ids"), _texts(body, "fields")
    else:
        ids, fields = (call.query.get(name, "").split(",") for name in ("ids", "fields"))
    if len(ids) > MOST_READ:
        raise ApiError(
            400, "EXCEEDED_ID_LIMIT", f"retrieve id limit reached. cannot ask for more than {MOST_READ} records"
        )
    names = [visible_field(call, sobject, name.strip()).name for name in fields]
    found = _by_id(call, sobject, [*dict.fromkeys([*names, "Id"])], ids)
    return JsonAnswer(payload=[found.get(each.strip()[:15]) for each in ids])


def _by_id(
    call: ApiCall, sobject: SObject, names: Sequence[str], ids: Sequence[str], *, include_deleted: bool = False
) -> dict[str, dict[str, Any]]:
    """Records that are there, by the first 15 characters of their ids."""
    asked = ", ".join(f"'{each.strip()}'" for each in ids if is_id(each.strip()))
    if not asked:
        return {}
    soql = f"SELECT {', '.join(names)} FROM {sobject.name} WHERE Id IN ({asked})"
    cursor = call.org.records.open_cursor(soql, include_deleted=include_deleted, viewer=call.org.viewer)
    try:
        return {row["Id"][:15]: row for row in cursor.records(0, cursor.total_size, call.api_version)}
    finally:
        cursor.close()


def _texts(body: dict[str, Any], name: str) -> list[str]:
    values = body.get(name)
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ApiError(400, "JSON_PARSER_ERROR", f"{name} must be a list of texts.")
    return values


def _records(call: ApiCall) -> list[Any]:
    records = call.json_object().get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ApiError(400, "JSON_PARSER_ERROR", "records must be a list of objects.")
    return _limited(records)


def _limited(items: list[Any]) -> list[Any]:
    if len(items) > MOST_CHANGED:
        message = f"record limit reached. cannot submit more than {MOST_CHANGED} records into this call"
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)
    return items


def _typed(call: ApiCall, record: dict[str, Any]) -> tuple[SObject, dict[str, Any]]:
    """The object that a record's attributes name, and its values without them."""
    attributes = record.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if not isinstance(name, str):
        raise ApiError(400, "INVALID_INPUT", "Each record must name its type in its attributes.")
    sobject = call.find_sobject(name)
    if sobject is None:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return sobject, {key: value for key, value in record.items() if key != "attributes"}


def _own_id(values: dict[str, Any]) -> str:
    """The record's id, taken out of its values."""
    named = next((name for name in values if name.lower() == "id"), None)
    given = values.pop(named) if named is not None else None
    if given is None:
        raise _RecordError("MISSING_ARGUMENT", "Id not specified in an update call")
    if not isinstance(given, str) or not is_id(given):
        raise _RecordError("MALFORMED_ID", f"malformed id {given}", ("Id",))
    return full_id(given)


def _check_there(call: ApiCall, sobject: SObject, record_id: str) -> None:
    names = [field.name for field in (sobject.field("Id"), sobject.field("IsDeleted")) if field is not None]
    record = _by_id(call, sobject, names, [record_id], include_deleted=True).get(record_id[:15])
    if record is None:
        raise _RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    if record.get("IsDeleted"):
        raise _RecordError("ENTITY_IS_DELETED", "entity is deleted")


def _checked(call: ApiCall, sobject: SObject, values: dict[str, Any], record_id: str | None) -> dict[str, Any]:
    """Values that the record may hold. Unknown fields refuse the whole call (ApiError), other faults the record."""
    for name, value in values.items():
        if not (isinstance(value, dict) and sobject.parent_field(name)):
            visible_field(call, sobject, name)
    try:
        return checked_values(call, sobject, values, record_id=record_id)
    except ApiError as error:
        raise _told(error) from None


def _told(error: ApiError) -> _RecordError:
    told = error.payload[0]
    return _RecordError(told["errorCode"], told["message"], tuple(told.get("fields", ())))


def _saved(record_id: str) -> dict[str, Any]:
    return {"id": record_id, "success": True, "errors": []}


def _each(
    call: ApiCall, items: Sequence[Any], step: Callable[[Any], Step], *, all_or_none: bool | None = None
) -> Answer:
    """Do the step of each item; others see all of them at once, and with allOrNone a failure takes all of them back."""
    if all_or_none is None:
        all_or_none = call.json_object().get("allOrNone") is True
    results: list[dict[str, Any]] = []
    try:
        with call.org.records.all_or_nothing():
            results.extend(_result(call, step, item) for item in items)
            if all_or_none and not all(result["success"] for result in results):
                raise NotAllError
    except NotAllError:
        results = rolled_back(results)
    return JsonAnswer(payload=results)


def rolled_back(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of a call that is taken back since one of its records failed, or another part of a whole."""
    taken_back = _RecordError("ALL_OR_NONE_OPERATION_ROLLED_BACK", ROLLED_BACK).result
    kept = [{name: value for name, value in result.items() if name == "created"} for result in results]
    return [{**taken_back, **more} if each["success"] else each for each, more in zip(results, kept)]


def _result(call: ApiCall, step: Callable[[Any], Step], item: Any) -> dict[str, Any]:
    try:
        with call.changing() as change:
            return step(item)(change)
    except _RecordError as failure:
        return failure.result
    except LookupError:
        return _RecordError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").result
    except (ValueError, OverflowError) as error:
        return _unfit(error).result


def _unfit(error: Exception) -> _RecordError:
    return _RecordError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"A value does not fit its field: {error}")
