"""Conditional requests: what a caller knows already, or insists on before something is changed.

Facts: REST API Developer Guide, "Conditional Request Headers"; the suffix of packed responses from recordings of restforce-db.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime

from salesforce_localorg.wire.answers import Answer, accepts_gzip
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError

PACKED = "-gzip"


@dataclass(frozen=True)
class State:
    """What conditions are compared with: when the resource changed last, and its entity tag; None where it has none."""

    modified: datetime | None
    tag: str | None = None

    def headers(self, call: ApiCall) -> dict[str, str]:
        """What a later call may make its condition."""
        told = {}
        if self.modified is not None:
            told["Last-Modified"] = format_datetime(self.modified.astimezone(timezone.utc), usegmt=True)
        if self.tag is not None:
            packed = PACKED if accepts_gzip(call.headers.get("accept-encoding", "")) else ""
            told["ETag"] = f'"{self.tag}{packed}"'
        return told


def unmet(call: ApiCall, state: State) -> Answer | None:
    """The response to a call whose conditions do not hold: 304 where nothing is new, 412 otherwise; None to go on.

    Raises ApiError 400 for a date that cannot be read in a call that writes; others ignore it.
    """
    reads = call.method in ("GET", "HEAD")
    wanted, known = _tags(call, "if-match"), _tags(call, "if-none-match")
    if state.tag is not None and wanted and not _holds(wanted, state.tag):
        return Answer(412)
    since = _date(call, "if-unmodified-since", strict=not reads)
    if since is not None and state.modified is not None and state.modified > since:
        return Answer(412)
    if state.tag is not None and known:
        return _unchanged(call, state, reads) if _holds(known, state.tag) else None
    since = _date(call, "if-modified-since", strict=False) if reads else None
    if since is not None and state.modified is not None and state.modified <= since:
        return _unchanged(call, state, reads)
    return None


def _unchanged(call: ApiCall, state: State, reads: bool) -> Answer:
    return Answer(304, state.headers(call)) if reads else Answer(412)


def _tags(call: ApiCall, header: str) -> set[str]:
    given = call.headers.get(header)
    return set() if given is None else {each.strip().removeprefix("W/").strip('"') for each in given.split(",")}


def _holds(tags: set[str], tag: str) -> bool:
    return bool({"*", tag, tag + PACKED} & tags)


def _date(call: ApiCall, header: str, *, strict: bool) -> datetime | None:
    given = call.headers.get(header)
    if given is None:
        return None
    try:
        found = parsedate_to_datetime(given)
    except (ValueError, TypeError, IndexError, OverflowError):
        if strict:
            raise ApiError(400, "INVALID_INPUT", f"The header {header} holds no date: {given[:80]}") from None
        return None  # RFC 9110: a date that cannot be read is ignored
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
