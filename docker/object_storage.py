"""The S3-compatible server of the local stack: moto's, which takes requests signed with the stack's own key only.

Moto itself takes any credentials, none included, and tells browsers that pages of any site may read its responses.
Usage: object_storage.py ACCESS_KEY_FILE SECRET_KEY_FILE, with the bucket's name in S3_BUCKET.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

PORT = 9000
HEALTHY = "/-/healthy"
FORBIDDEN = (
    b"<Error><Code>AccessDenied</Code><Message>The request is not signed with the stack's key.</Message></Error>"
)
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>(?P<date>\d{8})/(?P<region>[^/]+)/s3/aws4_request), *"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


class SignedOnly:
    """Lets requests through that carry AWS Signature Version 4 of the key; the health check asks for nothing."""

    def __init__(self, application: Application, access_key: str, secret_key: str) -> None:
        self._application = application
        self._access_key = access_key
        self._secret_key = secret_key

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == HEALTHY:
            start_response("204 No Content", [])
            return []
        if not self._is_signed(environ):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [FORBIDDEN]

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            told = [each for each in headers if not each[0].lower().startswith("access-control-")]
            return start_response(status, told, *rest)

        return self._application(environ, start)

    def _is_signed(self, environ: Environ) -> bool:
        found = AUTHORIZATION.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        if found is None or found["key"] != self._access_key or "host" not in found["headers"].split(";"):
            return False
        request = "\n".join(_canonical(environ, found["headers"].split(";")))
        parts = (
            "AWS4-HMAC-SHA256",
            environ.get("HTTP_X_AMZ_DATE", ""),
            found["scope"],
            hashlib.sha256(request.encode()).hexdigest(),
        )
        signature = hmac.new(self._signing_key(found), "\n".join(parts).encode(), hashlib.sha256).hexdigest()
        return hmac.compare_digest(signature, found["signature"])

    def _signing_key(self, found: re.Match[str]) -> bytes:
        key = f"AWS4{self._secret_key}".encode()
        for part in (found["date"], found["region"], "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def _canonical(environ: Environ, names: list[str]) -> Iterable[str]:
    """The lines of the canonical request (AWS documentation, "Create a signed AWS API request")."""
    sent = urlsplit(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"])
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(sent.query, True))
    yield environ["REQUEST_METHOD"]
    yield sent.path
    yield "&".join(f"{name}={value}" for name, value in pairs)
    for name in names:
        yield f"{name}:{' '.join(_header(environ, name).split())}"
    yield ""
    yield ";".join(names)
    yield environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")


def _header(environ: Environ, name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))


def serve(access_key: str, secret_key: str, bucket: str, host: str, port: int) -> None:
    """Serve the bucket until the process ends."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple
    from werkzeug.test import Client

    storage = DomainDispatcherApplication(create_backend_app)
    Client(storage).put(f"/{bucket}", base_url=f"http://localhost:{port}")
    print(f"The bucket {bucket} is ready.", flush=True)
    run_simple(host, port, SignedOnly(storage, access_key, secret_key), threaded=True)


def main(arguments: list[str]) -> None:
    access_key, secret_key = (Path(name).read_text().strip() for name in arguments)
    serve(access_key, secret_key, os.environ["S3_BUCKET"], "0.0.0.0", PORT)  # noqa: S104  the compose file binds the port


if __name__ == "__main__":
    main(sys.argv[1:])
