"""Search: SOSL, and the same by parameters.

Facts: REST API Developer Guide, "Search" and "Parameterized Search"; SOQL and SOSL Reference, "SOSL Syntax" and "SOSL Limits on
Search Results". A word finds words of its own spelling whatever their case, with * and ? as wildcards; several words are all
wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salesforce_localorg.records.tables import identifier
from salesforce_localorg.schema import SObject
from salesforce_localorg.soql.added_condition import with_condition
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError
from salesforce_localorg.wire.search_terms import SearchTermError, condition

MOST_RESULTS = 2000
WRAPPED_SINCE = 37.0  # until then the response was the list itself
SHORTEST_TERM = 2
LONGEST_TERM = 10_000  # a longer one finds nothing
MOST_OF_AN_OBJECT = 250  # unless its results are filtered or sorted
# What IN NAME FIELDS searches beside the name field; "IN SearchGroup".
MORE_NAMES: Mapping[str, frozenset[str]] = {
    "Account": frozenset({"Website", "Site", "NameLocal"}),
    "Asset": frozenset({"SerialNumber"}),
    "Case": frozenset({"SuppliedName", "SuppliedCompany", "Subject"}),
    "Contact": frozenset({"AssistantName", "FirstNameLocal", "LastNameLocal"}),
    "Event": frozenset({"Subject"}),
    "Lead": frozenset({"Company", "CompanyLocal", "FirstNameLocal", "LastNameLocal"}),
    "Note": frozenset({"Title"}),
    "Task": frozenset({"Subject"}),
    "User": frozenset({"CommunityNickname"}),
}
GROUPS: Mapping[str, frozenset[str]] = {
    "ALL": frozenset({"string", "textarea", "phone", "url", "email"}),
    "SIDEBAR": frozenset({"string", "textarea", "phone", "url", "email"}),
    "EMAIL": frozenset({"email"}),
    "PHONE": frozenset({"phone"}),
    "NAME": frozenset({"string", "textarea", "url"}),
}
_FIND = re.compile(r"\s*FIND\s*\{(?P<term>(?:\\.|[^\\}])*)\}(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_IN = re.compile(r"\s*IN\s+(?P<group>\w+)\s+FIELDS\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_RETURNING = re.compile(r"\s*RETURNING\s+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(r"\s*(?P<name>\w+)\s*(?P<rest>.*)", re.DOTALL)
_LIMIT = re.compile(r"\s*(LIMIT\s+(?P<limit>\d+))?\s*", re.IGNORECASE)
_CLAUSES = re.compile(r"\b(USING|WHERE|ORDER\s+BY|LIMIT|OFFSET)\b", re.IGNORECASE)
_OFFSET = re.compile(r"\bOFFSET\s+(\d+)\s*$", re.IGNORECASE)
# Clauses that change nothing here: there is no spelling to correct, and no articles whose readers are counted.
_WITHOUT_EFFECT = re.compile(
    r"\s*(WITH\s+SPELL_CORRECTION\s*=\s*(TRUE|FALSE)\b|UPDATE\s+(TRACKING|VIEWSTAT)(\s*,\s*(TRACKING|VIEWSTAT))?\b)",
    re.IGNORECASE,
)
_WITH = re.compile(r"\s*WITH\s+(?P<what>DATA\s+CATEGORY|\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class _Wanted:
    """What to return of one object: fields, and the clauses of SOQL behind them."""

    sobject: SObject
    fields: str = "Id"
    clauses: str = ""


@dataclass
class _Search:
    term: str
    group: str = "ALL"
    strict: bool = True
    wanted: list[_Wanted] = field(default_factory=list)
    limit: int = MOST_RESULTS


def search(call: ApiCall) -> Answer:
    """GET /search?q=FIND {…} …"""
    sosl = call.query.get("q", "")
    found = _FIND.fullmatch(sosl)
    if found is None:
        raise _malformed("No search term found. The search term must be enclosed in braces.")
    asked = _Search(found["term"])
    rest = found["rest"]
    if (group := _IN.fullmatch(rest)) is not None:
        asked.group, rest = group["group"].upper(), group["rest"]
    if (returning := _RETURNING.fullmatch(rest)) is not None:
        rest = returning["rest"]
        while True:
            wanted, rest = _object(call, rest)
            asked.wanted.append(wanted)
            if not rest.lstrip().startswith(","):
                break
            rest = rest.lstrip()[1:]
    _check_wanted(asked.wanted)
    rest = _WITHOUT_EFFECT.sub("", rest)
    if (unknown := _WITH.match(rest)) is not None:
        raise _malformed(f"WITH {unknown['what']} is not supported by the local org")
    limit = _LIMIT.fullmatch(rest)
    if limit is None:
        word = rest.split()[0]
        raise _malformed(f"unexpected token: '{word}'")
    if limit["limit"]:
        asked.limit = min(MOST_RESULTS, int(limit["limit"]))
    return _answer(call, asked)


def search_by_parameters(call: ApiCall) -> Answer:
    """GET /parameterizedSearch?q=…&sobject=Account&Account.fields=Id,Name, or POST with the same as JSON"""
    body = call.json_object() if call.method == "POST" else _from_query(call)
    asked = _Search(str(body.get("q") or ""), str(body.get("in") or "ALL").upper(), strict=False)
    if not asked.term.strip():
        raise ApiError(400, "MISSING_ARGUMENT", "Search query parameter q is required")
    try:
        asked.wanted += [_wanted(call, each, body) for each in body.get("sobjects") or []]
        asked.limit = min(MOST_RESULTS, int(body.get("overallLimit") or MOST_RESULTS))
    except (AttributeError, TypeError, ValueError, OverflowError):
        message = "sobjects must be a list of objects with name, fields, where and limit."
        raise ApiError(400, "JSON_PARSER_ERROR", message) from None
    return _answer(call, asked)


def _wanted(call: ApiCall, asked: Mapping[str, Any], body: Mapping[str, Any]) -> _Wanted:
    sobject = _sobject(call, str(asked.get("name", "")))
    fields = asked.get("fields") or body.get("fields") or ["Id"]
    where = f" WHERE {asked['where']}" if asked.get("where") else ""
    limit = asked.get("limit") or body.get("defaultLimit")
    return _Wanted(sobject, ", ".join(map(str, fields)), where + (f" LIMIT {int(limit)}" if limit else ""))


def _from_query(call: ApiCall) -> dict[str, Any]:
    """The parameters of a GET in the shape of a POST's body."""
    given = call.query
    names = [name for each in given.getlist("sobject") for name in each.split(",") if name]
    body: dict[str, Any] = {key: given.get(key) for key in ("q", "in", "overallLimit", "defaultLimit")}
    body["fields"] = [each for each in given.get("fields", "").split(",") if each]
    body["sobjects"] = [
        {
            "name": name,
            "fields": [each for each in given.get(f"{name}.fields", "").split(",") if each],
            "where": given.get(f"{name}.where"),
            "limit": given.get(f"{name}.limit"),
        }
        for name in names
    ]
    return body


def _object(call: ApiCall, text: str) -> tuple[_Wanted, str]:
    """`Account(Id, Name WHERE … LIMIT 5)` and what stands behind it."""
    found = _OBJECT.fullmatch(text)
    if found is None:
        raise _malformed("unexpected token: '<EOF>'")
    sobject, rest = _sobject(call, found["name"]), found["rest"]
    if not rest.startswith("("):
        return _Wanted(sobject), rest
    inside, rest = _bracketed(rest)
    clause = _CLAUSES.search(inside)
    cut = len(inside) if clause is None else clause.start()
    if clause is not None and not inside[:cut].strip():
        raise _malformed(f"unexpected token: '{clause[0]}'")
    return _Wanted(sobject, inside[:cut].strip() or "Id", f" {inside[cut:]}"), rest


def _bracketed(text: str) -> tuple[str, str]:
    """What stands between the first parenthesis and its partner, and what follows."""
    depth, quoted, place = 0, False, 0
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 1
        elif char == "'":
            quoted = not quoted
        elif not quoted and char in "()":
            depth += 1 if char == "(" else -1
            if depth == 0:
                return text[1:place], text[place + 1 :]
        place += 1
    raise _malformed("expecting a right parentheses, found '<EOF>'")


def _sobject(call: ApiCall, name: str) -> SObject:
    found = call.find_sobject(name)
    if found is None:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return found


def _answer(call: ApiCall, asked: _Search) -> Answer:
    if asked.group not in GROUPS:
        raise _malformed(f"unexpected token: '{asked.group}'")
    if len(asked.term.strip().strip("*?")) < SHORTEST_TERM:
        raise _malformed(f"search term must be longer than one character: {asked.term}")
    wanted = asked.wanted or [_Wanted(each) for each in call.org.schema if _is_searched(call, each)]
    found = [_found(call, asked, each, _most(each, len(wanted))) for each in wanted]
    records = [
        record for each, share in zip(found, _shares(list(map(len, found)), asked.limit)) for record in each[:share]
    ]
    return JsonAnswer(payload={"searchRecords": records} if float(call.api_version) >= WRAPPED_SINCE else records)


def _check_wanted(wanted: Sequence[_Wanted]) -> None:
    """Raises ApiError 400 for an object that is named twice, and for OFFSET beyond what it may be."""
    names = [each.sobject.name for each in wanted]
    if len(set(names)) < len(names):
        raise _malformed("Each object can be named once in RETURNING")
    for each in wanted:
        offset = _OFFSET.search(each.clauses)
        if offset is not None and len(wanted) > 1:
            raise _malformed("OFFSET can be used only when querying a single object")
        if offset is not None and int(offset[1]) > MOST_RESULTS:
            raise _malformed(f"SOSL offset should be between 0 to {MOST_RESULTS}")


def _most(wanted: _Wanted, objects: int) -> int:
    """How many records of one object are returned at most."""
    if objects == 1:
        return (
            MOST_RESULTS if re.search(r"\b(WHERE|ORDER\s+BY)\b", wanted.clauses, re.IGNORECASE) else MOST_OF_AN_OBJECT
        )
    return min(MOST_RESULTS // objects, MOST_OF_AN_OBJECT)


def _shares(counts: Sequence[int], limit: int) -> list[int]:
    """How many records of each object a limit of the whole lets through: as many of each as long as there are any."""
    shares, left = [0] * len(counts), limit
    while left > 0 and (open_ := [place for place, count in enumerate(counts) if shares[place] < count]):
        step = max(1, left // len(open_))
        for place in open_:
            given = min(step, counts[place] - shares[place], left)
            shares[place] += given
            left -= given
    return shares


def _is_searched(call: ApiCall, sobject: SObject) -> bool:
    return sobject.flag("searchable") and sobject.queryable and call.org.viewer.sees_object(sobject.name)


def _found(call: ApiCall, asked: _Search, wanted: _Wanted, most: int) -> list[dict[str, Any]]:
    """The records of one object, as a query returns them."""
    ids = _matching_ids(call, asked, wanted.sobject)
    if not ids:
        return []
    among = f"Id IN ({', '.join(repr(each) for each in ids)})"
    soql = with_condition(f"SELECT {wanted.fields} FROM {wanted.sobject.name}{wanted.clauses}", among)
    cursor = call.org.records.open_cursor(soql, include_deleted=False, viewer=call.org.viewer)
    try:
        return cursor.records(0, min(most, cursor.total_size), call.api_version)
    finally:
        cursor.close()


def _matching_ids(call: ApiCall, asked: _Search, sobject: SObject) -> Sequence[str]:
    sees, types = call.org.viewer.sees_field, GROUPS[asked.group]
    columns = [
        identifier(each.name)
        for each in sobject.fields
        if each.type in types and sees(sobject.name, each.name)
        if asked.group != "NAME" or each.name_field or each.name in MORE_NAMES.get(sobject.name, ())
    ]
    if not columns or len(asked.term) > LONGEST_TERM:
        return []
    text = f"concat_ws(chr(10), {', '.join(columns)})"
    live = ' AND NOT "IsDeleted"' if sobject.field("IsDeleted") else ""
    try:
        matches = condition(text, asked.term, strict=asked.strict)
    except SearchTermError as error:
        raise _malformed(str(error)) from None
    sql = f'SELECT "Id" FROM {identifier(sobject.name)} WHERE ({matches}){live}'
    rows = call.org.records.raw().execute(f'{sql} ORDER BY "Id" LIMIT {MOST_RESULTS}').fetchall()
    return [record_id for (record_id,) in rows]


def _malformed(message: str) -> ApiError:
    return ApiError(400, "MALFORMED_SEARCH", message)
