"""REST queries, page by page (salesforce-protocol.md#rest-queries)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from airflow_sfcc.errors import IncompleteResultError, SalesforceError, UnavailableError, UnexpectedResponseError
from airflow_sfcc.salesforce.api import Api
from airflow_sfcc.salesforce.responses import error_within, json_object_of
from airflow_sfcc.wording import plural

LONGEST_URI = 16_384
"""Bytes of URI, and of URI and headers together, that Salesforce takes (salesforce-protocol.md#rest-conventions, 414 and 431)."""

MOST_EMPTY_PAGES = 100
"""Pages without a row, one after another, before a query's pages are taken to be without end."""

MOST_PAGES = 500_000
"""Pages of one query: a billion rows. It matters where Salesforce does not know how many rows there are."""

MOST_CHILDREN = 1_000_000
"""Child records of one record, all of which are held in memory."""

MOST_LEVELS = 20
"""Levels of child records within child records; SOQL has five (salesforce-protocol.md#rest-queries)."""

_HEADER_ROOM = 2_000
_TOO_LONG = (414, 431)
_COUNTING = re.compile(r"\s*SELECT\s+COUNT\s*\(\s*\)\s+FROM\b", re.IGNORECASE)
"""COUNT() returns its number as `totalSize`, with no records at all."""

_WAY_OUT = "Nothing was landed. Run it again; if that does not help, look for a proxy that changes responses, or use api='bulk'."

Record = dict[str, Any]
JsonReader = Callable[[requests.Response], Mapping[str, Any]]


@dataclass(frozen=True)
class QueryPage:
    """One page: records as Salesforce sent them (dicts, unless the page's reader made something else of them), and how many
    rows the whole query has; None when Salesforce does not know."""

    records: Any
    total_size: int | None


def is_counting(soql: str) -> bool:
    """Whether a query is `SELECT COUNT() FROM ...`, whose response has a number and no records."""
    return _COUNTING.match(soql) is not None


def fits_uri(soql: str) -> bool:
    """Whether a query is short enough to be sent by GET."""
    return len(quote(soql, safe="")) + _HEADER_ROOM <= LONGEST_URI


def query_pages(
    api: Api,
    soql: str,
    *,
    include_deleted: bool = False,
    read: JsonReader = json_object_of,
) -> Iterator[QueryPage]:
    """All pages of a query; the number of records yielded equals `totalSize`, or IncompleteResultError is raised.

    Of external objects Salesforce may not know how many rows there are, and says -1 (Apex Developer Guide, "queryMore with
    the Apex Connector Framework"); then the last page must say that it is the last.

    `read` turns a response into JSON and raises for an error response, for callers that need values parsed their own way; its
    `records` may be a collection of another kind than a list, if they have no child records. Child records that come in pages
    of their own are read before the next parent page, which would invalidate their cursors.
    """
    pages = _Pages(api, read)
    body = pages.first(soql, "/queryAll" if include_deleted else "/query")
    bounds = _Bounds()
    while True:
        records, total_size, link = _records(body), _total_size(body), _link(body)
        if isinstance(records, list):
            for record in records:
                _complete_children(record, pages)
        bounds.add(len(records), total_size)
        yield QueryPage(records, total_size)
        if not link:
            break
        del records, body  # pages are large: no two of them are held here
        body = pages.after(link, bounds)
    if total_size is None and body.get("done") is not True:
        raise IncompleteResultError(
            f"Salesforce sent {plural(bounds.rows, 'row')} of a query, said that there are more, and did not say where; nothing "
            "was landed. Run it again."
        )
    if total_size is not None and total_size != bounds.rows and not is_counting(soql):
        raise _wrong_count(total_size, bounds.rows)


def _wrong_count(reported: int, sent: int) -> IncompleteResultError:
    return IncompleteResultError(
        f"Salesforce reported {plural(reported, 'row')} for a query and sent {sent:,}; nothing was landed. Run it again."
    )


class _Bounds:
    """How many rows and pages of one query have come, and which links were followed."""

    def __init__(self) -> None:
        self.rows = 0
        self.links: set[str] = set()
        self._empty = 0

    def add(self, rows: int, total_size: object) -> None:
        """One more page. Raises IncompleteResultError when there are more rows than reported, and UnexpectedResponseError for
        pages without end."""
        self.rows += rows
        self._empty = 0 if rows else self._empty + 1
        if isinstance(total_size, int) and 0 <= total_size < self.rows:
            raise _wrong_count(total_size, self.rows)
        if self._empty > MOST_EMPTY_PAGES:
            raise UnexpectedResponseError(
                f"Salesforce sent {self._empty} pages of a query without a row, and announced more. {_WAY_OUT}"
            )
        if len(self.links) > MOST_PAGES:
            raise UnexpectedResponseError(
                f"Salesforce sent {len(self.links):,} pages of a query, and announced more. {_WAY_OUT}"
            )


class _TransientPartError(Exception):
    """The transient error of a response within a response that is none."""

    def __init__(self, problem: SalesforceError) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Pages:
    """The responses to one query, read."""

    def __init__(self, api: Api, read: JsonReader) -> None:
        self._api = api
        self._read = read

    def first(self, soql: str, resource: str) -> Mapping[str, Any]:
        """The first response to a query, however long it is."""
        if not fits_uri(soql):
            return self._first_in_a_body(soql, resource)
        response = self._api.request("GET", resource, params={"q": soql})
        if response.status_code in _TOO_LONG:
            # The headers count too, and a token that is a JWT takes more of them than is foreseen.
            return self._first_in_a_body(soql, resource)
        return self._read(response)

    def after(self, link: str, bounds: _Bounds) -> Mapping[str, Any]:
        """The response that another one's `nextRecordsUrl` leads to, and which leads to a page that has not come yet.

        A cache or a connection that is one response behind may answer with a page before; that one is requested again, once.
        """
        bounds.links.add(link)
        for _ in range(2):
            body = self._read(self._api.request("GET", self._api.resolve(link)))
            if _link(body) not in bounds.links:
                return body
        raise UnexpectedResponseError(
            f"Salesforce paged a query in a circle (the same nextRecordsUrl twice). {_WAY_OUT}"
        )

    def _first_in_a_body(self, soql: str, resource: str) -> Mapping[str, Any]:
        """The first page of a query that is too long for a URI: composite/batch carries the URI in its body
        (salesforce-protocol.md#long-queries).

        The pages after it are requested by GET, since their links are short.
        """
        url = f"v{self._api.version}{resource}?q={quote(soql, safe='')}"
        try:
            return self._api.session.retries.run(
                lambda: self._in_a_batch(url, resource), what=f"GET {resource} in a batch", also=(_TransientPartError,)
            )
        except _TransientPartError as last:
            raise last.problem from None

    def _in_a_batch(self, url: str, resource: str) -> Mapping[str, Any]:
        batch = {"batchRequests": [{"method": "GET", "url": url}]}
        response = self._api.request("POST", "/composite/batch", json=batch)
        results = self._read(response).get("results")
        first = results[0] if isinstance(results, list) and results else None
        if not (isinstance(first, Mapping) and str(first.get("statusCode")).isdecimal()):
            raise UnexpectedResponseError(
                f"Salesforce answered a query that was sent in a batch without a result. {_WAY_OUT}"
            )
        status, body = int(first["statusCode"]), first.get("result")
        if status != 200 or not isinstance(body, Mapping):
            problem = error_within(status, body, f"GET {resource}")
            raise _TransientPartError(problem) if isinstance(problem, UnavailableError) else problem
        return body


def _records(body: Mapping[str, Any]) -> Any:
    records = body.get("records")
    if not isinstance(records, Sized) or isinstance(records, (str, dict)):
        raise UnexpectedResponseError(f"Salesforce answered a query without a list of records. {_WAY_OUT}")
    if isinstance(records, list) and not all(isinstance(record, dict) for record in records):
        raise UnexpectedResponseError(f"Salesforce answered a query with a record that is no JSON object. {_WAY_OUT}")
    return records


def _link(body: Mapping[str, Any]) -> str | None:
    link = body.get("nextRecordsUrl")
    if link is not None and not isinstance(link, str):
        raise UnexpectedResponseError(f"Salesforce answered a query with a nextRecordsUrl that is no text. {_WAY_OUT}")
    return link or None


def _total_size(body: Mapping[str, Any]) -> int | None:
    total_size = body.get("totalSize")
    if not isinstance(total_size, int) or isinstance(total_size, bool):
        raise UnexpectedResponseError(
            f"Salesforce answered a query without saying how many rows it has (totalSize). {_WAY_OUT}"
        )
    return total_size if total_size >= 0 else None


def _complete_children(record: Record, pages: _Pages, level: int = 1) -> None:
    """Read the child records that come in pages of their own. Raises UnexpectedResponseError for those without end."""
    if level > MOST_LEVELS:
        raise UnexpectedResponseError(
            f"Salesforce sent child records within child records, more than {MOST_LEVELS} levels deep. {_WAY_OUT}"
        )
    for value in record.values():
        if not (isinstance(value, dict) and isinstance(value.get("records"), list)):
            continue
        block: Mapping[str, Any] = value
        records = _records(value)
        bounds = _Bounds()
        bounds.add(len(records), value.get("totalSize"))
        while link := _link(block):
            block = pages.after(link, bounds)
            more = _records(block)
            bounds.add(len(more), value.get("totalSize"))
            records.extend(more)
            if len(records) > MOST_CHILDREN:
                raise UnexpectedResponseError(
                    f"One record has more than {MOST_CHILDREN:,} child records, more than are held in memory; nothing was "
                    "landed. Read the child object by a query of its own."
                )
        _require_all_children(value, block)
        for child in records:
            _complete_children(child, pages, level + 1)


def _require_all_children(first: Mapping[str, Any], last: Mapping[str, Any]) -> None:
    """Raise IncompleteResultError when child records are missing, by the number reported or since there were to be more."""
    reported, sent = first.get("totalSize"), len(first["records"])
    if last.get("done") is False or (isinstance(reported, int) and sent != reported):
        raise IncompleteResultError(
            f"Salesforce reported {reported} child records of one record and sent {sent}; nothing was landed. Run it again, "
            "or read the child object by a query of its own."
        )


def plain(record: Record) -> Record:
    """A record without `attributes`, its parents likewise, its children as lists of such records.

    Raises UnexpectedResponseError when it is nested more deeply than any record of Salesforce.
    """
    try:
        return {name: _plain_value(value) for name, value in record.items() if name != "attributes"}
    except RecursionError:
        raise UnexpectedResponseError(
            f"Salesforce answered a query with a record that is nested too deeply. {_WAY_OUT}"
        ) from None


def _plain_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("records"), list):
        return [plain(child) for child in value["records"]]
    return plain(value)
