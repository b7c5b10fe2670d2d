"""The org on a socket: uvicorn in a background thread, plain or with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from salesforce_localorg.connect_proxy import ConnectProxy
from salesforce_localorg.host_names import CERTIFICATE_NAMES, LOGIN_HOSTS, REFUSING_HOSTS, listen
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire import Gateway

if TYPE_CHECKING:
    from typing_extensions import Self

START_SECONDS = 20
STOP_SECONDS = 15
LARGEST_HEAD = 1 << 20  # the org itself refuses heads above 16,384 bytes, with Salesforce's status codes
LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104  names to recognise, not to bind


@dataclass(frozen=True)
class Credentials:
    """What a connection needs: the URL to log in at, consumer key and consumer secret."""

    url: str
    consumer_key: str
    consumer_secret: str = field(repr=False)


class OrgServer:
    """Serves an org for the time of a `with` block.

    `port` 0 takes a free one. With `tls`, `ca_file` is the PEM file of the authority that signed the certificate
    (names: localhost, the loopback addresses, `host`, Salesforce's own names and `names`). With `proxy_port`, which
    implies `tls`, a proxy at `proxy_url` leads Salesforce's host names here. Raises OSError when a port is taken,
    RuntimeError when the server does not start.
    """

    def __init__(
        self,
        org: LocalOrg,
        host: str = LOOPBACK,
        port: int = 0,
        tls: bool = False,
        names: tuple[str, ...] = (),
        proxy_port: int | None = None,
    ) -> None:
        self.org = org
        self._host = host
        self._wanted_port = port
        self._tls = tls or proxy_port is not None
        self._names = names
        self._wanted_proxy_port = proxy_port
        self._resources = contextlib.ExitStack()
        self.port = 0
        self.proxy_port: int | None = None
        self.ca_file: Path | None = None

    @property
    def url(self) -> str:
        """Where the org listens, such as `http://127.0.0.1:8711`; a wildcard address shows as loopback."""
        return self._url("https" if self._tls else "http", self.port)

    @property
    def proxy_url(self) -> str | None:
        """Where the proxy listens, such as `http://127.0.0.1:8712`; None without one."""
        return None if self.proxy_port is None else self._url("http", self.proxy_port)

    @property
    def _reachable_host(self) -> str:
        return LOOPBACK if self._host in WILDCARDS else self._host

    def _url(self, scheme: str, port: int) -> str:
        host = self._reachable_host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def credentials(self) -> Credentials:
        config = self.org.config
        return Credentials(self.url, config.consumer_key, config.consumer_secret)

    def start(self) -> Self:
        """Listen; returns when calls are answered."""
        with contextlib.ExitStack() as resources:
            listener = listen(self._host, self._wanted_port)
            resources.callback(listener.close)
            self.port = listener.getsockname()[1]
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="sfcc-org-tls-")))
            certificate = self._certificate(folder) if self._tls else None
            server = _Server(_uvicorn_config(self.org, certificate))
            thread = threading.Thread(target=server.run, args=([listener],), name="local-org", daemon=True)
            thread.start()
            resources.callback(_stop, server, thread)
            if not server.ready.wait(START_SECONDS):
                raise RuntimeError(f"The local org did not start within {START_SECONDS} seconds; see its log.")
            if self._wanted_proxy_port is not None:
                self.proxy_port = resources.enter_context(self._proxy(self._wanted_proxy_port)).port
            self._resources = resources.pop_all()
        return self

    def stop(self) -> None:
        """Stop listening; calls still under way are cut after a short wait."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _proxy(self, port: int) -> ConnectProxy:
        hosts = dict.fromkeys((*self.org.config.my_domain, *LOGIN_HOSTS, *REFUSING_HOSTS, *self._instance_host))
        return ConnectProxy((self._reachable_host, self.port), tuple(hosts), self._host, port)

    @property
    def _instance_host(self) -> list[str]:
        """The host of the configured instance URL, which may be none of Salesforce's."""
        return re.findall(r"^[^/]*//([^/:]+)", self.org.config.instance_url or "")

    def _certificate(self, folder: Path) -> Path:
        import trustme  # only --tls needs it, and it brings the cryptography package

        authority = trustme.CA(organization_name="Local Salesforce org")
        names = dict.fromkeys(["localhost", LOOPBACK, "::1", *CERTIFICATE_NAMES, *self._instance_host, *self._names])
        if self._host not in WILDCARDS:
            names[self._host] = None
        certificate = authority.issue_cert(*names)
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        path = folder / "server.pem"
        path.touch(mode=0o600)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path


class _Protocol(H11Protocol):
    """Hands each connection's transport to the application, which faults need to cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()  # closing TLS would wait for the caller's farewell, which idle callers never send
        else:
            super().shutdown()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _uvicorn_config(org: LocalOrg, certificate: Path | None) -> uvicorn.Config:
    return uvicorn.Config(
        Gateway(org),
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",  # pytest hands its handlers to uvicorn.access, whatever access_log says
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # the gateway tells the org's time, not this machine's
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ssl_certfile=str(certificate) if certificate is not None else None,
    )


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(STOP_SECONDS)
