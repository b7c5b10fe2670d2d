"""No secret leaves the client, whatever a server sends back, and whoever prints what."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_sfcc import errors, redaction
from airflow_sfcc.errors import SalesforceError, SfccError
from airflow_sfcc.redaction import HIDDEN, printable, redact, register_secret
from airflow_sfcc.salesforce import SalesforceClient, connect
from airflow_sfcc.salesforce.auth import Token
from airflow_sfcc.salesforce.instance import Origin
from airflow_sfcc.salesforce.transport import TransportOptions
from tests.conftest import KEY, RunningOrg
from tests.raw_server import raw_server, response
from tests.secret_search import SecretForms

SECRET = "S/E+C:R@E#T%40 é0123456789abcdef"
TOKEN = (
    "00Dxx0000001gPL!AR8AQP0jITN80ESEsj5EbaZTFG0RNBaT1cyWk7TrqoDjoNIWQ2ME_sTZzBjfmOE6zMHq6y8PIW4eWze9JksNEkWUl.Cju7m4"
)
JOB = "750R0000000zxr8IAA"

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL-encoded": lambda value: quote(value, safe=""),
    "URL-encoded as a form": quote_plus,
    "URL-encoded in lower case": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
    "URL-encoded twice": lambda value: quote(quote(value, safe=""), safe=""),
    "in JSON": lambda value: json.dumps(value)[1:-1],
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "Basic": lambda value: base64.b64encode(f"{KEY}:{value}".encode()).decode(),
    "Basic of the encoded": lambda value: base64.b64encode(f"{quote(KEY)}:{quote(value, safe='')}".encode()).decode(),
    "base64 after another text": lambda value: base64.b64encode(f"client={value}&more=1".encode()).decode(),
}


@pytest.fixture(autouse=True)
def _forgotten_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is known to the whole process."""
    monkeypatch.setattr(redaction, "_forms", OrderedDict())


def assert_hidden(text: str) -> None:
    haystack = [("text", text.encode(errors="replace"))]
    assert SecretForms(KEY, SECRET, [TOKEN]).found_in(haystack) == [], text
    for name, form in FORMS.items():
        for value in (SECRET, TOKEN):
            assert form(value) not in text, name


def client_of(url: str) -> SalesforceClient:
    settings = TransportOptions(request_timeout=10, max_retries=0)
    return connect(url, KEY, SECRET, api_version="67.0", transport=settings)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shape", ["oauth", "api", "text", "long"])
def test_responses_that_repeat_the_request_bring_no_secret_into_exceptions(
    form: Callable[[str], str], shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"bad request: secret={form(SECRET)} token={form(TOKEN)}"
    bodies: dict[str, Any] = {
        "oauth": {"error": f"invalid_{said}", "error_description": said},
        "api": [{"errorCode": f"ODD_{said}", "message": said}],
        "text": said,
        "long": [{"errorCode": "ODD", "message": "x" * 590 + said}],  # cut within the secret
    }
    body = json.dumps(bodies[shape]).encode()
    url: list[str] = []

    def responses(line: str) -> Iterable[bytes]:
        if "/token" in line and len(server.heads) == 1:
            return [response(json.dumps({"access_token": TOKEN, "instance_url": url[0]}).encode())]
        if f"/jobs/query/{JOB}" in line:
            failed = {"id": JOB, "state": "Failed", "object": "Account", "errorMessage": said}
            return [response(json.dumps(failed).encode())]
        return [response(body, status="400 Bad Request")]

    with raw_server(responses) as server:
        url.append(server.url)
        client = client_of(server.url)
        told = []
        for call in (client.limits, lambda: client.bulk.get(JOB).require_complete(), client_of(server.url).limits):
            with pytest.raises(SalesforceError) as problem:
                call()
            told += [str(problem.value), repr(problem.value), repr(problem.value.args), str(vars(problem.value))]
    assert_hidden("\n".join(told) + caplog.text)
    assert HIDDEN in "\n".join(told)


def test_no_repr_shows_a_secret(org: RunningOrg) -> None:
    from airflow_sfcc._airflow import shared_clients

    client = org.client()
    client.describe("Account")
    secrets = SecretForms(KEY, org.org.config.consumer_secret or "", [client.auth.token.access_token])
    fields = {"host": org.url, "port": None, "schema": None, "login": KEY, "password": org.org.config.consumer_secret}
    connected = shared_clients._Connected(tuple(fields.values()), {"poll": client}, 0.0)
    seen: set[int] = set()

    def everything(value: object, depth: int = 0) -> Iterable[tuple[str, bytes]]:
        """What `repr` and `str` show of an object of ours, and of what it holds."""
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        name = type(value).__name__
        yield name, f"{value!r} {value!s}".encode()
        if type(value).__module__.startswith("airflow_sfcc"):
            for part in vars(value).values() if hasattr(value, "__dict__") else ():
                if type(part).__module__.startswith("airflow_sfcc"):
                    yield from everything(part, depth + 1)

    shown = list(everything(connected)) + list(everything(client))
    assert {"_Connected", "SalesforceClient", "Api", "TokenAuth", "Tokens", "Credentials", "Token"} <= {
        n for n, _ in shown
    }
    assert secrets.found_in(shown) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs"]), min_size=8, max_size=60))
def test_any_secret_is_hidden_in_every_form(secret: str) -> None:
    register_secret(secret, user=KEY)
    for name, form in FORMS.items():
        text = f"before {form(secret)} after"
        shown = redact(text)
        assert form(secret) not in shown or form(secret) in ("before", " after"), name


def test_an_exception_never_holds_a_secret_however_it_was_made() -> None:
    register_secret(SECRET, user=KEY)
    for kind in [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SfccError)]:
        problem = kind(f"It said {SECRET}.", code=SECRET)
        problem.message += f" And {quote(SECRET)}."
        for each in (
            problem,
            copy.copy(problem),
            pickle.loads(pickle.dumps(problem)),  # noqa: S301
            errors.named(kind.__name__, SECRET),
        ):
            assert_hidden(f"{each} {each!r} {each.args} {vars(each)}")


NOISY = "one\ntwo\r\n2026-11-30 INFO forged\x1b[2J\x1b]0;title\x07\x00\u202egnp\u2028x\u061c\u00ad\ud83d"


def test_error_codes_and_messages_are_cleaned_before_they_are_shown(
    org: RunningOrg, caplog: pytest.LogCaptureFixture
) -> None:
    client = org.client(transport=TransportOptions(max_retries=0))
    client.describe("Case")
    org.fail("describe", status=400, body=[{"errorCode": NOISY, "message": NOISY}])
    org.fail("token", status=400, body={"error": NOISY, "error_description": NOISY})
    with pytest.raises(SalesforceError) as of_api:
        client.describe("Account")
    with pytest.raises(SalesforceError) as of_token:
        org.client().describe("Account")
    for problem in (of_api.value, of_token.value):
        first_line = str(problem).split("\n")[0]
        assert "one two" in first_line and "forged" in first_line
        assert all(character.isprintable() or character == "\n" for character in str(problem) + str(problem.code))
        assert "\n" not in str(problem.code)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=[])))
def test_what_is_printable_is_one_line_of_printable_characters(text: str) -> None:
    assert printable(text).isprintable()


def test_secrets_that_are_sent_are_hidden_however_many_others_came_since(org: RunningOrg) -> None:
    """A triggerer of many connections gets more tokens than are remembered; its own secrets it still sends."""
    client = org.client()
    client.describe("Account")
    secret, token = org.org.config.consumer_secret or "", client.auth.token.access_token
    for number in range(2 * redaction._MOST):
        register_secret(f"token of another connection {number}")
    org.fail("describe", status=400, body=[{"errorCode": "ODD", "message": f"You sent {token}."}])
    with pytest.raises(SalesforceError, match="You sent") as of_api:
        client.describe("Contact")
    org.fail("describe", status=401, body=[{"errorCode": "INVALID_SESSION_ID", "message": "gone"}])
    org.fail("token", status=400, body={"error": "odd", "error_description": f"You sent {secret}."})
    with pytest.raises(SalesforceError, match="You sent") as of_token:
        client.describe("Contact")
    assert token not in str(of_api.value) and secret not in str(of_token.value)


@pytest.mark.parametrize("form", [FORMS["URL-encoded"], FORMS["base64"]], ids=["URL-encoded", "base64"])
def test_lines_that_are_no_headers_are_not_logged(form: Callable[[str], str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = response(b"{}", f"client_secret={form(SECRET)}", status="400 Bad")
    with raw_server(lambda _: [said]) as server, pytest.raises(SalesforceError):
        client_of(server.url).limits()
    assert form(SECRET) not in caplog.text and "lines among its headers that are none" in caplog.text


def test_nothing_that_an_org_is_called_steers_a_terminal(org: RunningOrg) -> None:
    """Names of objects, of the org and of its user are shown by commands and in Airflow's UI."""
    client = org.client()
    org.fail("describe", status=404, body=[{"errorCode": "NOT_FOUND", "message": NOISY}])
    org.fail("describe_global", status=200, body={"sobjects": [{"name": "Acc\n\x1b[2J\u202eount"}]})
    with pytest.raises(SalesforceError) as problem:
        client.describe("Acount")
    org.fail("query", status=200, body={"totalSize": 1, "done": True, "records": [{"Name": NOISY}]}, times=None)
    told = client.introduction()
    assert "forged" in told and told.isprintable()
    assert str(problem.value).replace("\n", "").isprintable() and "Did you mean Acc ount?" in str(problem.value)


def test_what_a_token_says_of_org_and_user_is_an_id_or_nothing() -> None:
    origin = Origin("https", "acme.my.salesforce.com", 443)
    for part in ("00D\n2026 INFO forged", "00D\x1b[2J", "x" * 19, "", "00D/../x"):
        token = Token("t", origin, f"https://login.salesforce.com/id/{part}/005xx000001SwiUAAS")
        assert token.org_id is None
    assert Token("t", origin, "https://login.salesforce.com/id/00D/005").org_id == "00D"


def test_ids_of_15_characters_are_those_of_18() -> None:
    origin = Origin("https", "acme.my.salesforce.com", 443)
    for org, user in (("00D50000000IZ3Z", "00550000001fg5O"), ("00D50000000IZ3ZEAW", "00550000001fg5OAAQ")):
        token = Token("t", origin, f"https://login.salesforce.com/id/{org}/{user}")
        assert (token.org_id, token.user_id) == ("00D50000000IZ3ZEAW", "00550000001fg5OAAQ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_org_is_never_reached_through_a_proxy(
    org: RunningOrg, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with raw_server(lambda _: [response(b"{}")]) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        client = org.client(host=org.url.replace("127.0.0.1", host))
        assert client.describe("Account")["name"] == "Account"
        assert client.session.get(f"{client.instance}/services/data").ok
    assert proxy.heads == []


def test_a_trigger_event_holds_no_secret_of_a_response(org: RunningOrg) -> None:
    from airflow_sfcc.triggers import BulkJobTrigger

    register_secret(SECRET, user=KEY)
    problem = SalesforceError(f"Salesforce said client_secret={quote(SECRET, safe='')}")
    event = BulkJobTrigger("sfcc_default", JOB, 1.0, 1.0).failure(problem)
    assert_hidden(json.dumps(event.payload))
