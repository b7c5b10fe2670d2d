"""The proxy: Salesforce's own host names lead to the org, everything else is refused."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg, OrgConfig
from salesforce_localorg.records import Records
from salesforce_localorg.schema import Schema
from salesforce_localorg.server import OrgServer

MY_DOMAIN = "https://localorg.my.salesforce.com"
REFRESH_TOKEN = "5Aep861TSESvWeug_xvFHRBTTbf"
SECONDS = 20

Start = Callable[..., OrgServer]


@pytest.fixture
def proxied(org_schema: Schema, org_records: Records) -> Iterator[OrgServer]:
    config = OrgConfig(refresh_token=REFRESH_TOKEN)
    with LocalOrg(config, schema=org_schema, records=org_records) as org, OrgServer(org, proxy_port=0) as server:
        yield server


@contextmanager
def client_of(server: OrgServer) -> Iterator[requests.Session]:
    """A client that knows the proxy and the authority, as one with HTTPS_PROXY and REQUESTS_CA_BUNDLE does."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.ca_file)
        session.proxies = {"https": server.proxy_url or "", "http": server.proxy_url or ""}
        yield session


def log_in(session: requests.Session, server: OrgServer, host: str, **changed: str) -> requests.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": server.credentials.consumer_key,
        "client_secret": server.credentials.consumer_secret,
        **changed,
    }
    return session.post(f"{host}/services/oauth2/token", data=form, timeout=SECONDS)


@pytest.mark.parametrize(
    "host", [MY_DOMAIN, "https://acme--uat.sandbox.my.salesforce.com", "https://acme-dev-ed.develop.my.salesforce.com"]
)
def test_my_domain_leads_to_the_org(proxied: OrgServer, host: str) -> None:
    with client_of(proxied) as session:
        token = log_in(session, proxied, host).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        answer = session.get(
            f"{token['instance_url']}/services/data/v67.0/query",
            params={"q": "SELECT COUNT() FROM Account"},
            timeout=SECONDS,
        )

    assert token["instance_url"] == host
    assert answer.json()["totalSize"] == proxied.org.records.count("Account")


@pytest.mark.parametrize("host", ["https://login.salesforce.com", "https://test.salesforce.com"])
def test_login_hosts_refuse_client_credentials(proxied: OrgServer, host: str) -> None:
    with client_of(proxied) as session:
        answer = log_in(session, proxied, host)

    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_grant", "error_description": "request not supported on this domain"}


def test_refresh_tokens_work_at_login_hosts_and_name_the_my_domain(proxied: OrgServer) -> None:
    with client_of(proxied) as session:
        refresh = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
        token = log_in(session, proxied, "https://login.salesforce.com", **refresh).json()
        expired = log_in(session, proxied, "https://login.salesforce.com", **{**refresh, "refresh_token": "old"})

    assert token["instance_url"] == MY_DOMAIN
    assert token["scope"] == "refresh_token api"
    assert "refresh_token" not in token
    assert expired.status_code == 400
    assert expired.json() == {"error": "invalid_grant", "error_description": "expired access/refresh token"}


def test_no_refresh_token_is_good_unless_the_org_was_given_one(org_schema: Schema, org_records: Records) -> None:
    with (
        LocalOrg(OrgConfig(), schema=org_schema, records=org_records) as org,
        OrgServer(org, proxy_port=0) as server,
        client_of(server) as session,
    ):
        answer = log_in(session, server, MY_DOMAIN, grant_type="refresh_token", refresh_token="")

    assert answer.json() == {"error": "invalid_grant", "error_description": "expired access/refresh token"}


def ask_proxy(server: OrgServer, request: bytes) -> bytes:
    """What the proxy says to a request, to its end."""
    assert server.proxy_port is not None
    with socket.create_connection(("127.0.0.1", server.proxy_port), timeout=SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT example.com:443",
        "CONNECT my.salesforce.com.example.com:443",
        "CONNECT localorg.my.salesforce.com:80",
        "CONNECT localorg.my.salesforce.com",
        "CONNECT 127.0.0.1:{port}",
        "CONNECT localhost:443",
        "CONNECT [::1]:443",
        "GET http://localorg.my.salesforce.com/services/data",
        "GET http://127.0.0.1:{port}/services/data",
        "GET /",
        "\x00\xff",
    ],
)
def test_everything_else_is_refused(proxied: OrgServer, request_line: str) -> None:
    line = request_line.replace("{port}", str(proxied.port))
    answer = ask_proxy(proxied, line.encode("latin-1") + b" HTTP/1.1\r\nHost: any\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"leads nowhere else" in answer
    assert not list(proxied.org.calls)


def test_endless_heads_are_refused(proxied: OrgServer) -> None:
    assert ask_proxy(proxied, b"CONNECT " + b"x" * 200_000).startswith((b"HTTP/1.1 403", b""))
    with client_of(proxied) as session:
        assert session.get(f"{MY_DOMAIN}/services/data", timeout=SECONDS).status_code == 200


def test_a_cut_connection_is_cut_through_the_proxy(proxied: OrgServer) -> None:
    proxied.org.faults.add(Fault(route="versions", reset=True, times=1))
    with client_of(proxied) as session:
        with pytest.raises(requests.ConnectionError):
            session.get(f"{MY_DOMAIN}/services/data", timeout=SECONDS)
        assert session.get(f"{MY_DOMAIN}/services/data", timeout=SECONDS).status_code == 200


def test_open_tunnels_end_with_the_server(org_schema: Schema, org_records: Records) -> None:
    with LocalOrg(OrgConfig(), schema=org_schema, records=org_records) as org:
        with OrgServer(org, proxy_port=0) as server:
            assert server.proxy_port is not None
            connection = socket.create_connection(("127.0.0.1", server.proxy_port), timeout=SECONDS)
            connection.sendall(b"CONNECT localorg.my.salesforce.com:443 HTTP/1.1\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        with connection, suppress(ConnectionError):
            assert connection.recv(100) == b""


def test_a_taken_proxy_port_is_an_os_error(proxied: OrgServer) -> None:
    with pytest.raises(OSError), OrgServer(proxied.org, proxy_port=proxied.proxy_port):
        pass
