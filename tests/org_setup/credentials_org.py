"""A small org that has external client apps: token endpoint, OAuth usage, OAuth credentials and staged ones.

The resources are those of the Connect REST API Developer Guide, "OAuth Credentials Resources".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DATA = "/services/data/v67.0"
ADMIN = ("3MVG9admin", "ADMINSECRET-0123456789")
OLD = ("3MVG9old", "OLDSECRET-0123456789")
APP, APP_ID, CONSUMER_ID = "Airflow", "0xIRO000000001", "888RO000000001"


@dataclass
class CredentialsOrg:
    """What the org holds and how it behaves.

    `staged` is (state, key, secret) or None. `accepts_staged` says whether a login with a staged pair works,
    `refuses_logins` how many logins with a new pair fail first, `shows_secret` whether staged secrets are shown again,
    `enabled` whether the REST API may show secrets at all. `wrapped` shows staged credentials within a collection, `org_ids`
    another org by consumer key.
    """

    url: str = ""
    primary: tuple[str, str] = OLD
    staged: tuple[str, str, str] | None = None
    accepts_staged: bool = True
    refuses_logins: int = 0
    shows_secret: bool = True
    enabled: bool = True
    lists_keys: bool = True
    wrapped: bool = False
    version: str = "67.0"
    org_ids: dict[str, str] = field(default_factory=dict)
    made: int = 0
    requests: list[str] = field(default_factory=list)

    def secrets(self) -> set[str]:
        staged = {self.staged[2]} if self.staged else set()
        return {self.primary[1], ADMIN[1], OLD[1], *staged}


@contextmanager
def credentials_org() -> Iterator[CredentialsOrg]:
    org = CredentialsOrg()
    handler = type("Handler", (_Handler,), {"org": org})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    org.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield org
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    org: CredentialsOrg

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PATCH(self) -> None:
        self._respond()

    def do_DELETE(self) -> None:
        self._respond()

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.org.requests.append(f"{self.command} {self.path}")
        if parts.path == "/services/oauth2/token":
            self._token({name: values[0] for name, values in parse_qs(body.decode()).items()})
        elif parts.path == "/services/data":
            self._json(200, [{"label": "x", "version": self.org.version, "url": f"/services/data/v{self.org.version}"}])
        elif not self.org.enabled:
            message = "This feature is not currently enabled for this user."
            self._json(403, [{"message": message, "errorCode": "FUNCTIONALITY_NOT_ENABLED"}])
        else:
            self._resource(
                parts.path.removeprefix(DATA), {name: each[0] for name, each in parse_qs(parts.query).items()}, body
            )

    def _token(self, form: dict[str, str]) -> None:
        org, given = self.org, (form.get("client_id", ""), form.get("client_secret", ""))
        usable = {ADMIN, org.primary}
        if org.staged and (org.accepts_staged or org.staged[0] == "Rotated"):
            usable.add(org.staged[1:])
        is_new = given[0] not in (ADMIN[0], OLD[0])
        if is_new and org.refuses_logins:
            org.refuses_logins -= 1
            usable.discard(given)
        if given not in usable:
            self._json(400, {"error": "invalid_client_id", "error_description": "client identifier invalid"})
            return
        org_id = org.org_ids.get(given[0], "00DRO0000000001AAA")
        identity = f"{org.url}/id/{org_id}/005RO0000000001AAA"
        self._json(200, {"access_token": f"00D!{given[0]}", "instance_url": org.url, "id": identity, "issued_at": "1"})

    def _resource(self, path: str, query: dict[str, str], body: bytes) -> None:
        org, credentials = self.org, f"/apps/oauth/credentials/{APP_ID}"
        if path == "/apps/oauth/usage":
            apps = [
                {"developerName": "Other", "identifier": "0xIRO000000000"},
                {"developerName": APP, "identifier": APP_ID},
            ]
            self._json(200, {"apps": apps if query.get("page", "0") == "0" else []})
        elif path == "/apps/oauth/credentials/0xIRO000000000":
            self._json(200, {"consumers": [{"id": "888RO000000000", "key": "3MVG9other", "name": "Other"}]})
        elif path == credentials:
            key = {"key": org.primary[0]} if org.lists_keys else {}
            self._json(200, {"consumers": [{"id": CONSUMER_ID, "name": APP, **key}]})
        elif path == f"{credentials}/{CONSUMER_ID}":
            parts = {"key": query["part"] in ("key", "keyandsecret"), "secret": query["part"] == "keyandsecret"}
            shown = {name: value for name, value in zip(("key", "secret"), org.primary, strict=True) if parts[name]}
            self._json(200, {"id": CONSUMER_ID, "name": APP, **shown})
        elif path.startswith(f"{credentials}/{CONSUMER_ID}/staged"):
            self._staged(path, body)
        else:
            self._json(404, [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}])

    def _staged(self, path: str, body: bytes) -> None:
        org = self.org
        if self.command == "POST" and org.staged is None and self.headers.get("Content-Length"):
            org.made += 1
            org.staged = ("Active", f"3MVG9new{org.made}", f"NEWSECRET{org.made}-0123456789")
            self._json(200, self._shown(fresh=True))
        elif org.staged is None:
            self._json(404, [{"message": "No staged credentials", "errorCode": "NOT_FOUND"}])
        elif self.command == "GET":
            self._json(200, self._shown())
        elif path.endswith("/9stROID1") and self.command == "DELETE":
            org.staged = None
            self._json(204, None)
        elif path.endswith("/9stROID1") and self.command == "PATCH" and json.loads(body) == {"command": "rotate"}:
            org.primary, org.staged = org.staged[1:], ("Rotated", *org.primary)
            self._json(200, self._shown())
        else:
            self._json(400, [{"message": "Only one staged credential is allowed", "errorCode": "INVALID_INPUT"}])

    def _shown(self, fresh: bool = False) -> Any:
        assert self.org.staged is not None
        state, key, secret = self.org.staged
        shown = {"secret": secret} if fresh or self.org.shows_secret else {}
        entry = {"id": "9stROID1", "state": state, "key": key, **shown}
        return {"stagedCredentials": [entry]} if self.org.wrapped else entry

    def _json(self, status: int, payload: Any) -> None:
        body = b"" if payload is None else json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
