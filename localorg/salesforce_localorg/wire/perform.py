"""Performing a call.

Find the route, admit the caller, count the request, let the handler answer. Every failure becomes an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, QueryParams

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.sessions import Session
from salesforce_localorg.soql import SoqlError
from salesforce_localorg.wire.access import admit, check_admin, check_api_enabled, check_bulk_enabled
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.compression import unpacked
from salesforce_localorg.wire.errors import ApiError, OAuthError, unknown_exception
from salesforce_localorg.wire.limits import limit_info, spend_api_request
from salesforce_localorg.wire.oauth import NO_STORE
from salesforce_localorg.wire.routes import Match, Routes
from salesforce_localorg.wire.versions import DEPRECATED, check_version, is_deprecated

API_ROOT = "/services/data/"
ASYNC = "async_"  # routes of Bulk API 1.0, which has errors of its own for versions

logger = logging.getLogger(__name__)


@dataclass
class Visitor:
    """Who calls and how. `session` is filled in by admission; the calls of one that is not metered cost no requests."""

    headers: Headers
    base_url: str
    is_local: bool
    faults: tuple[Fault, ...] = ()
    session: Session | None = None
    metered: bool = True


@dataclass(frozen=True)
class Target:
    """What is called; `path` is unescaped, `query` as it came."""

    method: str
    path: str
    query: str
    body: bytes = b""


class Performer:
    """Answers the calls of one org. Runs in worker threads; everything it touches is safe for that."""

    def __init__(self, org: LocalOrg, routes: Routes) -> None:
        self._org = org
        self._routes = routes

    def route_name(self, method: str, path: str) -> str:
        """The name of the call's route, `unknown` for none."""
        try:
            return self._routes.find(method, path).route.name
        except ApiError:
            return "unknown"

    def perform(self, visitor: Visitor, target: Target) -> Answer:
        """The answer to a call, errors included."""
        try:
            answer = self._answer(visitor, target)
        except ApiError as error:
            answer = JsonAnswer(error.status, error.headers, error.payload)
        except OAuthError as error:
            answer = JsonAnswer(error.status, dict(NO_STORE), error.payload)
        except SoqlError as error:
            answer = JsonAnswer(400, {}, ApiError(400, error.code, error.message).payload)
        except Exception:
            logger.exception("%s %s failed inside the local org.", target.method, target.path)
            answer = JsonAnswer(500, {}, unknown_exception().payload)
        if visitor.session is not None and target.path.lower().startswith(API_ROOT):
            answer.headers["Sforce-Limit-Info"] = limit_info(self._org)
        return answer

    def _answer(self, visitor: Visitor, target: Target) -> Answer:
        match = self._find(visitor, target)
        route, version = match.route, match.params.get("version")
        if route.access == "session":
            visitor.session = admit(self._org, visitor.headers)
            check_api_enabled(self._org)
            if route.name.startswith(("job_", "ingest_")):
                check_bulk_enabled(self._org)
        elif route.access == "admin":
            check_admin(self._org, target.method, visitor.headers, visitor.base_url, is_local=visitor.is_local)
        if version is not None and not route.name.startswith(ASYNC):
            check_version(self._org.config, version, route.since)
        if route.access == "session" and route.metered and visitor.metered:
            spend_api_request(self._org)
        answer = route.handler(self._call(visitor, target, match))
        if version is not None and answer.status < 400 and is_deprecated(self._org.config, version):
            answer.headers["Warning"] = DEPRECATED
        return answer

    def _find(self, visitor: Visitor, target: Target) -> Match:
        try:
            return self._routes.find(target.method, target.path)
        except ApiError:
            if target.path.lower().startswith(API_ROOT):
                visitor.session = admit(self._org, visitor.headers)
            raise

    def _call(self, visitor: Visitor, target: Target, match: Match) -> ApiCall:
        def within(
            method: str,
            path: str,
            query: str,
            body: bytes,
            *,
            metered: bool = True,
            headers: Mapping[str, str] | None = None,
        ) -> Answer:
            # Part of a batch: same caller, but no way around the loopback rule of the admin pages.
            shown = {**visitor.headers, **{name.lower(): value for name, value in (headers or {}).items()}}
            shown.pop("content-encoding", None)  # the part is a piece of an unpacked body
            shown["authorization"] = visitor.headers.get("authorization", "")
            inner = Visitor(Headers(shown), visitor.base_url, is_local=False, metered=metered)
            return self.perform(inner, Target(method, path, query, body))

        return ApiCall(
            org=self._org,
            method=target.method,
            path=target.path,
            params=match.params,
            query=QueryParams(target.query),
            headers=visitor.headers,
            body=unpacked(visitor.headers, target.body),
            base_url=visitor.base_url,
            perform_within=within,
            session=visitor.session,
            version=match.params.get("version"),
            faults=visitor.faults,
        )
