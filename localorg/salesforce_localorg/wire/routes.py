"""The org's routes: which handler answers which method and path, and what the call needs first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.routing import compile_path

from salesforce_localorg.wire.answers import Answer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, not_found

API_ROOT = "/services/data"
METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE")  # in the order in which a 405 response names them
Handler = Callable[[ApiCall], Answer]
Access = Literal["open", "session", "admin"]


@dataclass(frozen=True)
class Route:
    """`name` is what faults and the call log use.

    A metered route costs one API request; `since` is the first API version that has it.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    handler: Handler
    access: Access = "session"
    metered: bool = True
    since: int = 0


@dataclass(frozen=True)
class Match:
    route: Route
    params: Mapping[str, str]


class Routes:
    """Finds the route of a call.

    Paths compare without case, as Salesforce's documents mix `resultPages` and `resultpages`.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(re.compile(compile_path(route.path)[0].pattern, re.IGNORECASE), route) for route in routes]

    def find(self, method: str, path: str) -> Match:
        """The route and its path parameters.

        Raises ApiError 404 for a path that no route has, 405 for a method that the path does not take.
        """
        if path.startswith(API_ROOT) and path.endswith("/"):
            path = path[:-1]
        allowed: list[str] = []
        for pattern, route in self._routes:
            found = pattern.match(path)
            if found is None:
                continue
            methods = _methods(route)
            if method in methods:
                return Match(route, found.groupdict())
            allowed.extend(methods)
        if allowed:
            names = [name for name in METHODS if name in allowed]
            raise ApiError(
                405,
                "METHOD_NOT_ALLOWED",
                f"HTTP Method '{method}' not allowed. Allowed are {','.join(names)}",
                headers={"Allow": ", ".join(names)},
            )
        raise not_found()


def _methods(route: Route) -> tuple[str, ...]:
    """What a resource of the REST API can be read with, HEAD reads too; the server leaves the body away."""
    reads = route.path.startswith(API_ROOT) and "GET" in route.methods
    return ("HEAD", *route.methods) if reads else route.methods
