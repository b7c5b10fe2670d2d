"""Records and schema of the org changed over HTTP, below `/_org/`, in ways that Salesforce's own API does not offer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records import Transaction
from salesforce_localorg.wire.admin import json_body, refused
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall

_Change = Callable[[Transaction, Mapping[str, Any]], dict[str, Any]]
LONGEST_WAIT = timedelta(days=365)


def change_records(call: ApiCall) -> Answer:
    """POST /_org/records: {"changes": [...], "commit_after_seconds": 0}; all become visible together.

    Each change names what to `do` and the `object`:
    insert (`values`, or `rows` for several), update (`id`, `values`, `stamps`: user, system or none),
    upsert (`field`, `value`, `values`), delete, undelete, hard_delete (`ids`), merge (`master`, `losers`, `values`).
    """
    body = json_body(call)
    changes = body.get("changes")
    if not isinstance(changes, list) or not all(isinstance(each, dict) for each in changes):
        raise refused('Send {"changes": [{"do": "insert", "object": "Account", "values": {"Name": "Acme"}}]}.')
    wait = _seconds(body.get("commit_after_seconds", 0))
    try:
        with call.org.records.transaction(commit_after=wait) as transaction:
            results = [_change(transaction, each) for each in changes]
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise refused(f"Nothing was changed: {_said(error)}") from None
    return JsonAnswer(payload={"results": results})


def change_schema(call: ApiCall) -> Answer:
    """POST /_org/schema: {"changes": [...]}, made one after the other.

    Each change names what to `do` and the `object`: add_field (`field`, `value` or `formula`), remove_field (`name`),
    change_field (`name`, `changes`), change_formula (`name`, `formula`), hide_field, show_field (`name`),
    drop_object, set_flags (`flags`); add_object takes `describe`.
    """
    changes = json_body(call).get("changes")
    if not isinstance(changes, list) or not all(isinstance(each, dict) for each in changes):
        raise refused('Send {"changes": [{"do": "remove_field", "object": "Account", "name": "Fax"}]}.')
    for place, each in enumerate(changes):
        try:
            _change_schema(call.org, each)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise refused(f"Change {place + 1} was not made: {_said(error)}") from None
    return JsonAnswer(payload={"changed": len(changes)})


def _seconds(value: Any) -> timedelta:
    if (
        not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not 0 <= value <= LONGEST_WAIT.total_seconds()
    ):
        raise refused("commit_after_seconds is a number of seconds from 0 to a year.")
    return timedelta(seconds=value)


def _change(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
    change_all: _Change = _chosen(_CHANGES, change)
    return change_all(transaction, change)


def _change_schema(org: LocalOrg, change: Mapping[str, Any]) -> None:
    _chosen(_SCHEMA_CHANGES, change)(org, change)


def _chosen(known: Mapping[str, Any], change: Mapping[str, Any]) -> Any:
    if change.get("do") not in known:
        raise ValueError(f"`do` must be one of {', '.join(known)}, not {change.get('do')!r}.")
    return known[change["do"]]


def _insert(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
    rows = change["rows"] if "rows" in change else [change.get("values", {})]
    return {"ids": transaction.insert_many(change["object"], rows)}


def _update(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
    stamps = change.get("stamps", "user")
    if stamps not in ("user", "system", "none"):
        raise ValueError(f"`stamps` is user, system or none, not {stamps!r}.")
    transaction.update(change["object"], change["id"], change["values"], stamps=stamps)
    return {"ids": [change["id"]]}


def _upsert(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
    record_id, created = transaction.upsert(
        change["object"], change["field"], change["value"], change.get("values", {})
    )
    return {"ids": [record_id], "created": created}


def _merge(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
    transaction.merge(change["object"], change["master"], *change["losers"], values=change.get("values"))
    return {"ids": [change["master"]]}


def _of_ids(call: Callable[..., None]) -> _Change:
    def change_all(transaction: Transaction, change: Mapping[str, Any]) -> dict[str, Any]:
        ids = change["ids"]
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise ValueError("`ids` is a list of record ids.")
        call(transaction, change["object"], *ids)
        return {"ids": ids}

    return change_all


_CHANGES: Mapping[str, _Change] = {
    "insert": _insert,
    "update": _update,
    "upsert": _upsert,
    "delete": _of_ids(Transaction.delete),
    "undelete": _of_ids(Transaction.undelete),
    "hard_delete": _of_ids(Transaction.hard_delete),
    "merge": _merge,
}
_SCHEMA_CHANGES: Mapping[str, Callable[[LocalOrg, Mapping[str, Any]], object]] = {
    "add_field": lambda org, c: org.add_field(c["object"], c["field"], c.get("value"), c.get("formula")),
    "remove_field": lambda org, c: org.remove_field(c["object"], c["name"]),
    "change_field": lambda org, c: org.change_field(c["object"], c["name"], c["changes"]),
    "change_formula": lambda org, c: org.change_formula(c["object"], c["name"], c["formula"]),
    "hide_field": lambda org, c: org.hide_field(str(c["object"]), str(c["name"])),
    "show_field": lambda org, c: org.show_field(str(c["object"]), str(c["name"])),
    "add_object": lambda org, c: org.add_object(c["describe"]),
    "drop_object": lambda org, c: org.drop_object(c["object"]),
    "set_flags": lambda org, c: org.set_flags(c["object"], **c["flags"]),
}


def _said(error: Exception) -> str:
    return f"{error.args[0]!r} is missing." if type(error) is KeyError else str(error)
