"""The console script as a stranger meets it: simple-salesforce, unmodified, reads it by Salesforce's host name."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest

from salesforce_localorg.key_pairs import KeyPair

SCRIPT = Path(sys.executable).parent / "salesforce-localorg"
ROWS = {"User": 3, "Account": 2100, "Contact": 5, "Opportunity": 5, "Case": 5, "Lead": 5, "Task": 5, "Event": 5}


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return KeyPair.generate()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, pair: KeyPair) -> Iterator[dict[str, Any]]:
    """What the command tells scripts about the org that it serves."""
    file = tmp_path_factory.mktemp("ready") / "ready.json"
    certificate = file.with_name("certificate.pem")
    certificate.write_text(pair.certificate)
    rows = [each for name, number in ROWS.items() for each in ("--rows", f"{name}={number}")]
    command = [str(SCRIPT), "--port", "0", "--proxy-port", "0", "--ready-file", str(file), *rows]
    command += ["--certificate", str(certificate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while not file.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "the org did not write its ready file within a minute"
            time.sleep(0.05)
        yield json.loads(file.read_text())
    finally:
        process.terminate()
        process.communicate(timeout=30)


def connect(ready: dict[str, Any], **credentials: Any) -> Salesforce:
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": ready["proxy_url"]}
    session.verify = ready["ca_file"]
    domain = ready["my_domain_host"].removesuffix(".salesforce.com")
    return Salesforce(domain=domain, consumer_key=ready["consumer_key"], session=session, **credentials)


@pytest.fixture(scope="module")
def salesforce(ready: dict[str, Any]) -> Salesforce:
    return connect(ready, consumer_secret=ready["consumer_secret"])


def test_whole_object_is_read_over_several_pages(salesforce: Salesforce) -> None:
    counted = salesforce.query("SELECT COUNT() FROM Account")["totalSize"]
    read = salesforce.query_all("SELECT Id, Name FROM Account")["records"]

    assert len({each["Id"] for each in read}) == len(read) == counted > 2000


def test_login_by_jwt(ready: dict[str, Any], pair: KeyPair) -> None:
    salesforce = connect(ready, username="user1@localorg.example", privatekey=pair.private_key)

    assert salesforce.query("SELECT COUNT() FROM Account")["totalSize"] > 2000


def test_life_of_a_record(salesforce: Salesforce) -> None:
    accounts = getattr(salesforce, "Account")  # noqa: B009  the client makes its objects as they are asked for
    created = accounts.create({"Name": "Acme"})
    assert accounts.update(created["id"], {"Phone": "555"}) == 204
    assert accounts.get(created["id"])["Phone"] == "555"
    assert accounts.delete(created["id"]) == 204


def test_errors_are_salesforces(salesforce: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest, match="No such column 'Nonsense'"):
        salesforce.query("SELECT Nonsense FROM Account")
