"""Where the credentials and the token may go."""

from __future__ import annotations

import pytest

from airflow_sfcc.errors import ConfigurationError, UntrustedHostError
from airflow_sfcc.salesforce.instance import InstanceRule, Origin, login_origin, resolve_link

ACME = Origin("https", "acme.my.salesforce.com", 443)


@pytest.mark.parametrize(
    "typed",
    [
        "acme.my.salesforce.com",
        " ACME.my.salesforce.com ",
        "https://acme.my.salesforce.com",
        "https://acme.my.salesforce.com/",
        "https://acme.my.salesforce.com/lightning/page/home?x=1",
        "acme.my.salesforce.com:443",
        "acme.my.salesforce.com.",
    ],
)
def test_my_domain_is_understood_however_it_is_pasted(typed: str) -> None:
    assert login_origin(typed) == ACME


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        ("http://localhost:8711", Origin("http", "localhost", 8711)),
        ("127.0.0.1:8711", Origin("http", "127.0.0.1", 8711)),
        ("https://127.0.0.1:8711", Origin("https", "127.0.0.1", 8711)),
        ("::1", Origin("http", "::1", 80)),
        ("http://[::1]:99", Origin("http", "::1", 99)),
    ],
)
def test_loopback_may_be_plain_http(typed: str, origin: Origin) -> None:
    assert login_origin(typed) == origin


def test_port_and_scheme_of_the_connection_count() -> None:
    assert login_origin("localhost", port=8711) == Origin("http", "localhost", 8711)
    assert login_origin("localhost", port=8711, scheme="https") == Origin("https", "localhost", 8711)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "My Domain"),
        ("login.salesforce.com", "login.salesforce.com does not answer"),
        ("https://test.salesforce.com/", "test.salesforce.com does not answer"),
        ("acme.lightning.force.com", "acme.my.salesforce.com"),
        ("acme.my.salesforce-setup.com", "acme.my.salesforce.com"),
        ("acme--uat.sandbox.lightning.force.com", "acme--uat.sandbox.my.salesforce.com"),
        ("acme.my.\u017falesforce.com", "not a host name"),
        ("acme", "acme.my.salesforce.com"),
        ("http://acme.my.salesforce.com", "unencrypted"),
        ("https://user:pw@acme.my.salesforce.com", "user name"),
        ("acme my domain", "characters"),
        ("ftp://acme.my.salesforce.com", "not an http"),
        ("a" * 64 + ".my.salesforce.com", "not a host name"),
        ("a." * 200 + "my.salesforce.com", "not a host name"),
    ],
)
def test_hosts_that_cannot_work_are_refused_with_the_setup_step(typed: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match="my-domain") as refusal:
        login_origin(typed)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "instance_url",
    [
        "https://acme.my.salesforce.com",
        "https://acme--uat.sandbox.my.salesforce.com/",
        "https://na139.salesforce.com",
        "https://acme.my.salesforce.mil",
    ],
)
def test_salesforces_own_hosts_are_verified(instance_url: str) -> None:
    assert str(InstanceRule(ACME).verify(instance_url)) == instance_url.rstrip("/")


@pytest.mark.parametrize(
    "instance_url",
    [
        "https://evil.example",
        "https://evilsalesforce.com",
        "https://salesforce.com.evil.example",
        "https://acme.my.salesforce.com@evil.example",
        "https://acme.my.salesforce.com\\@evil.example",
        "https://acme.my.salesforce.com:8443",
        "http://acme.my.salesforce.com",
        "http://127.0.0.1:80",
        "//evil.example",
        "javascript:alert(1)",
        "https://" + "a" * 64 + ".my.salesforce.com",
        "",
    ],
)
def test_other_instances_are_refused(instance_url: str) -> None:
    with pytest.raises(UntrustedHostError):
        InstanceRule(ACME).verify(instance_url)


def test_allowed_hosts_and_loopback() -> None:
    listed = InstanceRule(ACME, frozenset({"sf.corp.example"}))
    assert listed.verify("https://sf.corp.example").host == "sf.corp.example"
    with pytest.raises(UntrustedHostError):
        listed.verify("http://sf.corp.example")
    local = InstanceRule(Origin("http", "localhost", 8711))
    assert local.verify("http://127.0.0.1:9000").port == 9000
    with pytest.raises(UntrustedHostError):
        local.verify("https://acme.my.salesforce.com")


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("/services/data/v67.0/query/0r8-2000", "https://acme.my.salesforce.com/services/data/v67.0/query/0r8-2000"),
        (
            "/jobs/query/750/results?locator=a",
            "https://acme.my.salesforce.com/services/data/v68.0/jobs/query/750/results?locator=a",
        ),
        ("jobs/query/750", "https://acme.my.salesforce.com/services/data/v68.0/jobs/query/750"),
        ("https://acme.my.salesforce.com/services/data/x", "https://acme.my.salesforce.com/services/data/x"),
    ],
)
def test_links_on_the_instance_are_followed(link: str, url: str) -> None:
    assert resolve_link(link, instance=ACME, api_version="68.0") == url


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/services/data",
        "//evil.example/services/data",
        "http://acme.my.salesforce.com/services/data",
        "https://acme.my.salesforce.com:444/services/data",
        "https://acme.my.salesforce.com@evil.example/",
        "\\\\evil.example",
        "/\\evil.example",
        "https://acme.my.salesforce.com\n.evil.example/",
    ],
)
def test_links_elsewhere_are_refused(link: str) -> None:
    with pytest.raises(UntrustedHostError, match="nothing was landed"):
        resolve_link(link, instance=ACME, api_version="68.0")
