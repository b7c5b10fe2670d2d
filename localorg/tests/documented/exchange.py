"""A documented request with the answer that the document gives, and the comparison of the two."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Union

import requests
from caller import Caller

from salesforce_localorg.org import LocalOrg

JSON = "application/json;charset=UTF-8"
RECORD_ID = re.compile(r"[A-Za-z0-9]{18}")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
ANYTHING = re.compile(r"(?s).*")  # as a text
PRESENT = object()  # anything, null too

Headers = Mapping[str, Union[str, "re.Pattern[str]", None]]


@dataclass(frozen=True)
class Some:
    """An object with at least these members."""

    members: Mapping[str, Any]


@dataclass(frozen=True)
class Each:
    """A list, not empty, of items that all look like this."""

    item: Any


@dataclass(frozen=True)
class Exchange:
    """One pair. `source` says where it is documented.

    `prepare` runs before the request and names what stands in braces in path, form and json. `settings` are the org's,
    `condition` changes the running org. `body` is compared as JSON, or as text when it is a text or a pattern; headers
    are exact texts, patterns, or None for one that must be absent.
    """

    source: str
    request: str
    status: int = 200
    body: Any = ANYTHING
    headers: Headers = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: Any = None
    anonymous: bool = False
    prepare: Callable[[Caller], dict[str, str]] = lambda caller: {}
    condition: Callable[[LocalOrg], object] = lambda org: None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source}: {self.request[:60]}"

    def perform(self, caller: Caller) -> requests.Response:
        """Send the request and check everything about the answer."""
        names = self.prepare(caller)
        self.condition(caller.org)
        caller.org.config = replace(caller.org.config, **self.settings)
        method, _, path = _filled(self.request, names).partition(" ")
        token = caller.session.headers.pop("Authorization", None) if self.anonymous else None
        try:
            answer = caller.call(
                method,
                path,
                headers=_filled(dict(self.given), names),
                params=_filled(dict(self.params), names),
                data=_filled(self.form, names),
                json=_filled(self.json, names),
            )
        finally:
            if token is not None:
                caller.session.headers["Authorization"] = token
        self._check(answer, names)
        return answer

    def _check(self, answer: requests.Response, names: Mapping[str, str]) -> None:
        assert answer.status_code == self.status, answer.text[:2000]
        for name, expected in self.headers.items():
            found = answer.headers.get(name)
            if expected is None:
                assert found is None, f"{name}: {found}"
            else:
                difference = unlike(_filled(expected, names), found)
                assert difference is None, f"header {name}: {difference}"
        as_text = isinstance(self.body, (str, re.Pattern))
        difference = unlike(_filled(self.body, names), answer.text if as_text else answer.json())
        assert difference is None, difference


def unlike(expected: Any, found: Any, where: str = "body") -> str | None:
    """How `found` is not as `expected` says; None when it is."""
    if isinstance(expected, Some):
        if not isinstance(found, dict):
            return f"{where} is {found!r:.200}, not an object"
        expected = {**dict.fromkeys(found, PRESENT), **expected.members}
    if isinstance(expected, Each):
        if not isinstance(found, list) or not found:
            return f"{where} is {found!r:.200}, not a list with items"
        expected = [expected.item] * len(found)
    if expected is PRESENT:
        return None
    if isinstance(expected, re.Pattern):
        fits = isinstance(found, str) and expected.fullmatch(found) is not None
        return None if fits else f"{where} is {found!r:.500}, not like {expected.pattern!r}"
    if isinstance(expected, type):
        return None if type(found) is expected else f"{where} is {found!r:.200}, not of {expected.__name__}"
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(expected) != list(found) and set(expected) != set(found):
            return f"{where} has {sorted(found)}, not {sorted(expected)}"
        return _first(unlike(value, found[name], f"{where}.{name}") for name, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return _first(unlike(one, other, f"{where}[{i}]") for i, (one, other) in enumerate(zip(expected, found)))
    return None if expected == found else f"{where} is {found!r:.500}, not {expected!r:.500}"


def _first(differences: Any) -> str | None:
    return next((each for each in differences if each is not None), None)


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with the names in braces replaced, however deep they stand."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {name: _filled(each, names) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, names) for each in value]
    return value
