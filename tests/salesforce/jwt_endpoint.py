"""A token endpoint that checks JWT bearer logins as Salesforce's help page says: signature, `aud`, `exp`, user, approval."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY, USERNAME = "3MVG9jwtconsumerkey", "airflow@acme.example.com"


@cache
def private_key(name: str = "airflow", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key for the whole run, since making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(key: rsa.RSAPrivateKey | None = None, passphrase: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (key or private_key()).private_bytes(*formats, encryption).decode()


@dataclass
class JwtEndpoint:
    """How it behaves, and what it was sent. `ahead` is how many seconds its clock is ahead of this machine's."""

    url: str = ""
    audience: str | None = None
    approved: bool = True
    error: dict[str, str] | None = None
    ahead: float = 0.0
    longest_life: float = 300.0
    forms: list[dict[str, str]] = field(default_factory=list)
    tokens: int = 0
    live: set[str] = field(default_factory=set)

    @property
    def claims(self) -> dict[str, Any]:
        return dict(jwt.decode(self.forms[-1]["assertion"], options={"verify_signature": False}))


@contextmanager
def jwt_endpoint() -> Iterator[JwtEndpoint]:
    endpoint = JwtEndpoint()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": endpoint}))
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: JwtEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.endpoint.forms.append(form)
        error = self._error(form)
        if error:
            self._json(400, error)
            return
        self.endpoint.tokens += 1
        token = f"00DRO0000000001!JWT.TOKEN.{self.endpoint.tokens}"
        self.endpoint.live.add(token)
        identity = f"{self.endpoint.url}/id/00DRO0000000001AAA/005RO0000000001AAA"
        self._json(
            200,
            {
                "access_token": token,
                "instance_url": self.endpoint.url,
                "id": identity,
                "scope": "api",
                "token_type": "Bearer",
            },
        )

    def do_GET(self) -> None:
        if self.headers.get("Authorization", "").removeprefix("Bearer ") in self.endpoint.live:
            self._json(200, {"DailyApiRequests": {"Max": 100, "Remaining": 99}})
        else:
            self._json(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])

    def _error(self, form: dict[str, str]) -> dict[str, str] | None:
        endpoint = self.endpoint
        if endpoint.error:
            return endpoint.error
        if (
            set(form) != {"grant_type", "assertion"}
            or form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer"
        ):
            return {"error": "unsupported_grant_type", "error_description": "grant type not supported"}
        try:
            claims = jwt.decode(
                form["assertion"],
                private_key().public_key(),
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "require": ["iss", "sub", "aud", "exp"]},
            )
        except jwt.PyJWTError:
            return {"error": "invalid_grant", "error_description": "invalid assertion"}
        now = time.time() + endpoint.ahead
        if claims["iss"] != KEY:
            return {"error": "invalid_client_id", "error_description": "client identifier invalid"}
        if claims["aud"] != (endpoint.audience or endpoint.url):
            return {"error": "invalid_grant", "error_description": "audience is invalid [audience=… login=…]"}
        if not now < claims["exp"] <= now + endpoint.longest_life:
            return {"error": "invalid_grant", "error_description": "expired authorization code"}
        if claims["sub"] != USERNAME or not endpoint.approved:
            return {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}
        return None

    def _json(self, status: int, payload: Any) -> None:
        body = json.dumps(payload).encode()
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.endpoint.ahead, usegmt=True))
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
