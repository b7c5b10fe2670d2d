"""Search: SOSL, and the same by parameters.

Facts: REST API Developer Guide, "Search" and "Parameterized Search"; SOQL and SOSL Reference, "SOSL Syntax". A word finds words
of its own spelling whatever their case, with * and ? as wildcards; several words are all wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salesforce_localorg.records.tables import identifier, literal
from salesforce_localorg.schema import SObject
from salesforce_localorg.soql.added_condition import with_condition
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError

MOST_RESULTS = 2000
WRAPPED_SINCE = 37.0  # until then the response was the list itself
SHORTEST_TERM = 2
GROUPS: Mapping[str, frozenset[str]] = {
    "ALL": frozenset({"string", "textarea", "phone", "url", "email"}),
    "SIDEBAR": frozenset({"string", "textarea", "phone", "url", "email"}),
    "EMAIL": frozenset({"email"}),
    "PHONE": frozenset({"phone"}),
    "NAME": frozenset({"string", "textarea"}),
}
_FIND = re.compile(r"\s*FIND\s*\{(?P<term>(?:\\.|[^\\}])*)\}(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_IN = re.compile(r"\s*IN\s+(?P<group>\w+)\s+FIELDS\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_RETURNING = re.compile(r"\s*RETURNING\s+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(r"\s*(?P<name>\w+)\s*(?P<rest>.*)", re.DOTALL)
_LIMIT = re.compile(r"\s*(LIMIT\s+(?P<limit>\d+))?\s*", re.IGNORECASE)
_CLAUSES = re.compile(r"\b(USING|WHERE|ORDER\s+BY|LIMIT|OFFSET)\b", re.IGNORECASE)
_TOKEN = re.compile(r'"(?P<phrase>[^"]*)"|(?P<word>[^\s"()]+)')


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
    wanted: list[_Wanted] = field(default_factory=list)
    limit: int = MOST_RESULTS


def search(call: ApiCall) -> Answer:
    """GET /search?q=FIND {…} …"""
    sosl = call.query.get("q", "")
    found = _FIND.fullmatch(sosl)
    if found is None:
        raise _malformed("No search term found. The search term must be enclosed in braces.")
    asked = _Search(re.sub(r"\\(.)", r"\1", found["term"]))
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
    asked = _Search(str(body.get("q") or ""), str(body.get("in") or "ALL").upper())
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
    records: list[Any] = []
    for each in wanted:
        records += _found(call, asked, each)
    records = records[: asked.limit]
    return JsonAnswer(payload={"searchRecords": records} if float(call.api_version) >= WRAPPED_SINCE else records)


def _is_searched(call: ApiCall, sobject: SObject) -> bool:
    return sobject.flag("searchable") and sobject.queryable and call.org.viewer.sees_object(sobject.name)


def _found(call: ApiCall, asked: _Search, wanted: _Wanted) -> list[dict[str, Any]]:
    """The records of one object, as a query returns them."""
    ids = _matching_ids(call, asked, wanted.sobject)
    if not ids:
        return []
    among = f"Id IN ({', '.join(repr(each) for each in ids)})"
    soql = with_condition(f"SELECT {wanted.fields} FROM {wanted.sobject.name}{wanted.clauses}", among)
    cursor = call.org.records.open_cursor(soql, include_deleted=False, viewer=call.org.viewer)
    try:
        return cursor.records(0, cursor.total_size, call.api_version)
    finally:
        cursor.close()


def _matching_ids(call: ApiCall, asked: _Search, sobject: SObject) -> Sequence[str]:
    sees, types = call.org.viewer.sees_field, GROUPS[asked.group]
    columns = [
        identifier(each.name)
        for each in sobject.fields
        if each.type in types and sees(sobject.name, each.name)
        if asked.group != "NAME" or each.name_field
    ]
    if not columns:
        return []
    text = f"concat_ws(chr(10), {', '.join(columns)})"
    live = ' AND NOT "IsDeleted"' if sobject.field("IsDeleted") else ""
    sql = f'SELECT "Id" FROM {identifier(sobject.name)} WHERE ({_condition(text, asked.term)}){live}'
    rows = call.org.records.raw().execute(f'{sql} ORDER BY "Id" LIMIT {MOST_RESULTS}').fetchall()
    return [record_id for (record_id,) in rows]


def _condition(text: str, term: str) -> str:
    """The SQL of a search term: words are all wanted, unless OR stands between them or NOT before one."""
    alternatives: list[list[str]] = [[]]
    negated = False
    for token in _TOKEN.finditer(term):
        word = (token["word"] or "").upper()
        if word == "OR":
            alternatives.append([])
        elif word == "NOT":
            negated = True
        elif word != "AND":
            test = f"regexp_matches({text}, {literal(_pattern(token['phrase'] or token['word'] or ''))}, 'i')"
            alternatives[-1].append(f"NOT {test}" if negated else test)
            negated = False
    return " OR ".join(f"({' AND '.join(tests)})" for tests in alternatives if tests) or "FALSE"


def _pattern(words: str) -> str:
    """A regular expression for the words in a row, none of which begins or ends within another word."""
    letters = {"*": r"\w*", "?": r"\w"}
    written = "".join(letters.get(char) or (r"\s+" if char.isspace() else re.escape(char)) for char in words)
    return rf"(^|\W){written}($|\W)"


def _malformed(message: str) -> ApiError:
    return ApiError(400, "MALFORMED_SEARCH", message)
