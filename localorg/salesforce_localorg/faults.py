"""Faults on demand: what goes wrong, on which calls, how often."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Cut = Literal["reset", "close", "end"]
KillSession = Literal["before", "after"]


@dataclass(frozen=True)
class Fault:
    """One rule: which calls it hits, and what goes wrong with them.

    Which calls: `route` is a regular expression for the whole route name (`query`, `job_.*`), `path` one that is
    searched in path and query string as they came, `method` an HTTP method. The first `skip` matching calls pass, the
    next `times` are hit (None: all). When several rules match a call, each counts it and their effects add up.

    Instead of the org's answer:
        status, body, headers: `body` is text (HTML when it starts with `<`) or any JSON value
        redirect_to: the Location of a 302, or of `status`
        reset: the connection dies before a byte of the answer
    In the org's own answer:
        headers: set, or removed by None
        set_json: JSON pointer -> value; pointers that do not fit change nothing
        mutate: JSON value in, JSON value out (from Python only)
        number_of_records: what Sforce-NumberOfRecords claims
    On the way out:
        latency: seconds before the answer
        stall_after, stall_seconds: silence after that many body bytes
        bytes_per_second: of the body
        cut_after, cut: after that many body bytes a TCP reset ("reset"), a closed connection with the body unfinished
            ("close"), or the proper end of a body that is too short ("end")
    Elsewhere:
        kill_session: the token dies "before" the call is looked at, or "after" its answer began
        job_error: the message with which a job created by this call fails; an empty text for a failure without one

    Raises ValueError for a value that cannot be.
    """

    route: str = ".*"
    method: str | None = None
    path: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    redirect_to: str | None = None
    reset: bool = False
    set_json: Mapping[str, Any] = field(default_factory=dict)
    mutate: Callable[[Any], Any] | None = None
    number_of_records: int | None = None
    latency: float = 0.0
    stall_seconds: float = 0.0
    stall_after: int = 0
    bytes_per_second: float | None = None
    cut_after: int | None = None
    cut: Cut = "reset"
    kill_session: KillSession | None = None
    job_error: str | None = None

    def __post_init__(self) -> None:
        for pattern in (self.route, self.path or ""):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"The fault's pattern {pattern!r} is no regular expression: {error}. Correct it."
                ) from None
        for name, value in (*self.headers.items(), ("Location", self.redirect_to)):
            _check_header(name, value)
        if self.status is not None and not (isinstance(self.status, int) and 200 <= self.status <= 599):
            raise ValueError(f"A fault's status must be a number between 200 and 599; {self.status!r} is none.")
        if self.cut not in ("reset", "close", "end"):
            raise ValueError(f"A fault's cut is reset, close or end; {self.cut!r} is none of them.")
        if self.kill_session not in (None, "before", "after"):
            raise ValueError(f"A fault's kill_session is before or after; {self.kill_session!r} is neither.")
        if self.bytes_per_second is not None and self.bytes_per_second <= 0:
            raise ValueError(
                "A fault's bytes_per_second must be above zero; to send nothing for a while use stall_seconds."
            )
        if min(self.latency, self.stall_seconds, self.stall_after, self.cut_after or 0, self.skip) < 0:
            raise ValueError("A fault's seconds and counts cannot be negative.")

    @classmethod
    def named(cls, name: str) -> Fault:
        """A fault that is known by a name; see `NAMED_FAULTS`. Raises ValueError for another name."""
        if name not in NAMED_FAULTS:
            raise ValueError(f"There is no fault named {name!r}; there are {', '.join(NAMED_FAULTS)}.")
        return cls(**NAMED_FAULTS[name])

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fault:
        """The fault of a JSON object whose keys are this class's field names.

        `{"name": "bulk_throttled"}` stands for a named one. Raises ValueError for an unknown key or name, or a value of
        the wrong type.
        """
        if set(values) == {"name"}:
            return cls.named(str(values["name"]))
        for name, value in values.items():
            if name not in JSON_TYPES:
                raise ValueError(f"A fault has no setting {name!r}; it knows {', '.join(sorted(JSON_TYPES))}.")
            if not any(_is_json(value, kind) for kind in JSON_TYPES[name]):
                raise ValueError(f"The fault's {name!r} must be {' or '.join(JSON_TYPES[name])}, not {value!r}.")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        shown: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            default = each.default_factory() if callable(each.default_factory) else each.default
            if value != default and each.name != "mutate":
                shown[each.name] = dict(value) if isinstance(value, Mapping) else value
        return shown

    @property
    def answers(self) -> bool:
        """Whether the fault answers in the org's place."""
        return self.status is not None or self.redirect_to is not None or self.reset


_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_UNKNOWN = (
    "An unexpected error occurred. Please include this ErrorId if you contact support: 1234567890-12345 (-1234567)"
)
NAMED_FAULTS: dict[str, dict[str, Any]] = {
    # A far-away org: 5 MB/s of wire bytes on each connection, 300 ms until the first byte.
    "bulk_throttled": {"times": None, "latency": 0.3, "bytes_per_second": 5_000_000},
    "not_acceptable": {"route": "describe", "status": 406},
    "edge_no_route": {"status": 420, "body": _HTML.format("Unknown host")},
    "too_many_requests": {"status": 429},
    "server_error": {"status": 500, "body": [{"message": _UNKNOWN, "errorCode": "UNKNOWN_EXCEPTION"}]},
    "bad_gateway": {"status": 502, "body": _HTML.format("502 Bad Gateway")},
    "maintenance": {"status": 503, "body": _HTML.format("We are down for maintenance.")},
    "unavailable": {"status": 503, "body": [{"message": "Service unavailable", "errorCode": "SERVER_UNAVAILABLE"}]},
    "requests_exhausted": {
        "path": "/services/data/.*",  # logging in takes none of the calls
        "status": 403,
        "times": None,
        "body": [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}],
    },
    "query_timeout": {
        "route": "query|query_all",
        "status": 400,
        "body": [{"message": "Your query request was running for too long.", "errorCode": "QUERY_TIMEOUT"}],
    },
    "token_dies": {"route": "query_more|job_results", "kill_session": "after"},
    "job_fails": {"route": "job_create", "job_error": "InternalServerError : Retried more than fifteen times"},
    "job_fails_silently": {"route": "job_create", "job_error": ""},
    "wrong_count": {"route": "job_results", "number_of_records": 1},
    "torn_page": {"route": "job_results", "cut_after": 2000, "cut": "reset"},
    "short_page": {"route": "job_results", "cut_after": 2000, "cut": "end"},
}

JSON_TYPES: dict[str, tuple[str, ...]] = {
    "route": ("text",),
    "method": ("text", "null"),
    "path": ("text", "null"),
    "times": ("integer", "null"),
    "skip": ("integer",),
    "status": ("integer", "null"),
    "body": ("any",),
    "headers": ("object",),
    "redirect_to": ("text", "null"),
    "reset": ("boolean",),
    "set_json": ("object",),
    "number_of_records": ("integer", "null"),
    "latency": ("number",),
    "stall_seconds": ("number",),
    "stall_after": ("integer",),
    "bytes_per_second": ("number", "null"),
    "cut_after": ("integer", "null"),
    "cut": ("text",),
    "kill_session": ("text", "null"),
    "job_error": ("text", "null"),
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "boolean": (bool,),
    "null": (type(None),),
    "any": (object,),
}


def _is_json(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False  # Python counts booleans as integers, JSON does not
    return isinstance(value, _PYTHON_TYPES[kind])


def _check_header(name: str, value: str | None) -> None:
    fits = isinstance(value, str) and re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value) is not None
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is None or not (value is None or fits):
        raise ValueError(f"A fault's headers are names with texts on one line, or null; {name!r}: {value!r} is not.")


@dataclass
class ActiveFault:
    """A fault in force: how many calls matched it and how many of those it hit."""

    id: int
    fault: Fault
    matched: int = 0
    hits: int = 0

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.hits >= self.fault.times

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "matched": self.matched, "hits": self.hits, "spent": self.spent, **self.fault.to_json()}


class Faults:
    """The faults in force. Safe to use from several threads; spent ones stay listed until cleared."""

    def __init__(self) -> None:
        self._active: list[ActiveFault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> ActiveFault:
        """Put a fault in force; the answer tells later how often it hit."""
        active = ActiveFault(next(self._ids), fault)
        with self._lock:
            self._active.append(active)
        return active

    def remove(self, fault_id: int) -> bool:
        """Lift one fault; False when there is none with this id."""
        with self._lock:
            kept = [each for each in self._active if each.id != fault_id]
            removed = len(kept) < len(self._active)
            self._active = kept
            return removed

    def clear(self) -> None:
        with self._lock:
            self._active.clear()

    def all(self) -> list[ActiveFault]:
        with self._lock:
            return list(self._active)

    def take(self, route: str, method: str, path: str) -> tuple[Fault, ...]:
        """The faults that hit this call; each counts it."""
        taken = []
        with self._lock:
            for active in self._active:
                if not _matches(active.fault, route, method, path):
                    continue
                active.matched += 1
                if active.matched > active.fault.skip and not active.spent:
                    active.hits += 1
                    taken.append(active.fault)
        return tuple(taken)


def _matches(fault: Fault, route: str, method: str, path: str) -> bool:
    return (
        re.fullmatch(fault.route, route) is not None
        and (fault.method is None or fault.method.upper() == method)
        and (fault.path is None or re.search(fault.path, path) is not None)
    )
