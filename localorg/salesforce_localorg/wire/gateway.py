"""The ASGI application: one HTTP request in, one answer out, with faults and the call log around it."""

from __future__ import annotations

from email.utils import format_datetime

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from salesforce_localorg.calls import Call
from salesforce_localorg.faults import Fault
from salesforce_localorg.host_names import host_name, is_loopback
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.access import bearer_token
from salesforce_localorg.wire.answers import Answer, Preferences, TextAnswer, accepts_gzip
from salesforce_localorg.wire.fault_effects import Wire, altered, kills_session, replacement, resets
from salesforce_localorg.wire.header_names import documented_name
from salesforce_localorg.wire.perform import Performer, Target, Visitor
from salesforce_localorg.wire.route_table import ADMIN_ROUTES, ALL_ROUTES
from salesforce_localorg.wire.routes import Routes

SECRET_IN_QUERY = ("token", "revoke", "introspect", "identity", "userinfo")  # what no log shall keep
API_PATHS = "/services/data/"  # the org's own pages take no other method than the one that was sent
LARGEST_HEAD = 16_384  # bytes, REST API Developer Guide: of the URI alone (414), of URI and headers together (431)


class Gateway:
    """The org as an ASGI application.

    The server puts each connection's transport into the request's state as `transport`.
    """

    def __init__(self, org: LocalOrg) -> None:
        self._org = org
        self._performer = Performer(org, Routes(ALL_ROUTES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"The local org speaks HTTP only, not {scope['type']}.")
        request = Request(scope, receive)
        try:
            await self._serve(request, scope, receive, send)
        except ClientDisconnect:
            return

    async def _serve(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        org = self._org
        method = _method(request)
        route = self._performer.route_name(method, _path(scope))
        uri = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
        logged = scope["path"] if route in SECRET_IN_QUERY else uri
        # The org's own pages stay usable whatever faults are in force, and out of the log they show.
        is_admin = route in ADMIN_ROUTES
        faults = () if is_admin else org.faults.take(route, method, uri)
        call = Call(route, method, logged, org.clock.now())
        token = bearer_token(request.headers) or ""

        def on_start(status: int) -> None:
            call.status = status
            if not is_admin:
                org.calls.add(call)
            if kills_session(faults, "after"):
                org.sessions.revoke(token)

        wire = Wire(send, receive, scope["state"]["transport"], faults, on_start)
        await wire.delay()
        if resets(faults):
            await wire.reset()
            return
        if kills_session(faults, "before"):
            org.sessions.revoke(token)
        answer = _oversized(scope) or replacement(faults) or await self._perform(request, faults, call)
        response = answer.to_response(_preferences(request.headers))
        response.headers["Date"] = format_datetime(org.clock.now(), usegmt=True)
        response.raw_headers = [(documented_name(name), value) for name, value in response.raw_headers]
        try:
            await response(scope, receive, wire.send)
        finally:
            call.sent = wire.sent

    async def _perform(self, request: Request, faults: tuple[Fault, ...], call: Call) -> Answer:
        visitor = Visitor(request.headers, _base_url(request), _is_local(request), faults)
        target = Target(_method(request), _path(request.scope), request.url.query, await request.body())
        answer = await run_in_threadpool(self._performer.perform, visitor, target)
        call.principal = visitor.session.username if visitor.session is not None else None
        return altered(answer, faults)


def _method(request: Request) -> str:
    """The method; callers that cannot send PATCH send POST with `_HttpMethod=PATCH` (REST API guide, "Update a Record")."""
    is_api = _path(request.scope).lower().startswith(API_PATHS)
    override = request.query_params.get("_HttpMethod") if request.method == "POST" and is_api else None
    return override.upper() if override else request.method


def _path(scope: Scope) -> str:
    """The path with one slash in front: the Salesforce CLI calls `//services/data` where an instance URL ends with one."""
    return "/" + str(scope["path"]).lstrip("/")


def _oversized(scope: Scope) -> Answer | None:
    uri = len(scope["raw_path"]) + len(scope["query_string"]) + (1 if scope["query_string"] else 0)
    head = uri + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    if uri > LARGEST_HEAD:
        return TextAnswer(414, {}, "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
    if head > LARGEST_HEAD:
        return TextAnswer(431, {}, "<h1>Bad Message 431</h1><pre>reason: Request Header Fields Too Large</pre>")
    return None


def _preferences(headers: Headers) -> Preferences:
    return Preferences(
        gzip=accepts_gzip(headers.get("accept-encoding", "")),
        pretty=headers.get("x-prettyprint", "").strip().lower() in ("1", "true"),
    )


def _base_url(request: Request) -> str:
    """Scheme and host as the caller wrote them; without a Host header, the address that was reached."""
    host, port = request.scope["server"]
    return f"{request.scope['scheme']}://{request.headers.get('host') or f'{host}:{port}'}"


def _is_local(request: Request) -> bool:
    """Whether the call came over the loopback interface and for a loopback name (a foreign name would be DNS
    rebinding)."""
    client = request.scope["client"]
    return client is not None and is_loopback(client[0]) and is_loopback(host_name(_base_url(request)))
