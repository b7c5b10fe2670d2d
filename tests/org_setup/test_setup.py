"""`airflow-sfcc setup`: what it grants, what it writes and what it says."""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.org_setup.conftest import FIVE, RUN_AS, RunSetup, objects

Refused = Callable[..., str]


def granted(written: object) -> list[str]:
    return [each["object"] for each in written.structures("PermissionSet", "objectPermissions")]  # type: ignore[attr-defined]


def test_five_objects_are_readable_and_nothing_else_is(run_setup: RunSetup) -> None:
    written = run_setup(*objects(*FIVE))
    permissions = written.structures("PermissionSet", "objectPermissions")
    assert granted(written) == sorted(FIVE)
    for each in permissions:
        assert each["allowRead"] == each["viewAllRecords"] == each["viewAllFields"] == "true"
        assert {each[name] for name in ("allowCreate", "allowEdit", "allowDelete", "modifyAllRecords")} == {"false"}
    users = written.structures("PermissionSet", "userPermissions")
    assert users == [{"enabled": "true", "name": "ApiEnabled"}, {"enabled": "true", "name": "ApiUserOnly"}]
    assert written.structures("PermissionSet", "fieldPermissions") == []


def test_named_fields_are_readable_and_no_others(run_setup: RunSetup) -> None:
    fields = "Id,Name,Industry,BillingCity,BillingStreet,Where__Latitude__s,Score__c"
    written = run_setup(*objects(f"Account:{fields}"))
    (account,) = written.structures("PermissionSet", "objectPermissions")
    assert account["viewAllFields"] == "false"
    fields_granted = written.structures("PermissionSet", "fieldPermissions")
    assert [each["field"] for each in fields_granted] == [
        "Account.BillingAddress",
        "Account.Industry",
        "Account.Score__c",
        "Account.Where__c",
    ]
    assert all(each["readable"] == "true" and each["editable"] == "false" for each in fields_granted)
    assert "Account: Id, Name need no field permission" in written.output


def test_named_twice_an_object_has_the_fields_of_both(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Lead:Status", "Lead:Rating,Status"))
    fields = [each["field"] for each in written.structures("PermissionSet", "fieldPermissions")]
    assert fields == ["Lead.Rating", "Lead.Status"]


def test_objects_without_permissions_of_their_own_are_told(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Account", "Task", "AccountHistory", "ContentVersion", "Invoice__Share"))
    assert granted(written) == ["Account"]
    for sentence in (
        "Task is not in the permission set, since it has no object permissions: grant the permission Access Activities.",
        "AccountHistory is not in the permission set",
        "ContentVersion is not in the permission set, since it has no object permissions: files need View All Data and "
        "Query All Files.",
        "Invoice__Share is not in the permission set",
    ):
        assert sentence in written.output


def test_a_parent_that_salesforce_insists_on_is_told_and_not_granted(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Contact"))
    assert granted(written) == ["Contact"]
    assert "add --object Account" in written.output
    assert "add --object" not in run_setup(*objects("Contact", "Account"), "--overwrite").output


def test_less_and_more_than_usual(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Account"), "--shared-records-only", "--view-setup")
    (account,) = written.structures("PermissionSet", "objectPermissions")
    assert account["viewAllRecords"] == "false"
    names = [each["name"] for each in written.structures("PermissionSet", "userPermissions")]
    assert names == ["ApiEnabled", "ApiUserOnly", "ViewRoles", "ViewSetup"]


def test_the_project_is_one_that_sf_deploys(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Account"))
    project = json.loads((written.folder / "sfdx-project.json").read_text())
    directories = [each["path"] for each in project["packageDirectories"]]
    assert directories == ["access", "app"]
    assert [each["path"] for each in project["packageDirectories"] if each.get("default")] == ["access"]
    assert project["sourceApiVersion"] == "67.0"
    components = {path.relative_to(written.folder).parts[0] for path in written.paths().values()}
    assert components == set(directories)


def test_the_commands_that_are_left_come_in_the_order_that_works(run_setup: RunSetup, tmp_path: Path) -> None:
    folder = tmp_path / "a folder; $(no)"
    written = run_setup(
        "--run-as", "o'neil@acme.example.com", "--target-org", "my org", *objects("Account"), folder=folder
    )
    lines = [line.strip() for line in written.output.splitlines() if line.strip()[:3] in ("1. ", "2. ", "3. ")]
    commands = [shlex.split(line[3:].strip("()"), comments=False) for line in lines]
    assert [command[:2] for command in commands] == [["cd", str(folder)], ["sf", "org"], ["cd", str(folder)]]
    assert commands[0][-6:] == ["deploy", "start", "--source-dir", "access", "--target-org", "my org"]
    assert commands[1][2:] == [
        "assign",
        "permset",
        "--name",
        "Airflow_Extracts",
        "--on-behalf-of",
        "o'neil@acme.example.com",
        "--target-org",
        "my org",
    ]
    assert commands[2][-6:] == ["deploy", "start", "--source-dir", "app", "--target-org", "my org"]


def test_it_says_plainly_that_nothing_was_deployed_and_what_a_person_does(run_setup: RunSetup) -> None:
    text = " ".join(run_setup(*objects("Account"), "--ip-range", "192.0.2.0/24").output.split())
    assert "Nothing was deployed" in text
    assert "were not deployed to an org before this release" in text
    assert "Copy consumer key and secret" in text
    assert "Login IP Ranges" in text


def test_the_private_key_is_its_owners_alone_and_shown_nowhere(run_setup: RunSetup) -> None:
    written = run_setup("--flow", "jwt", *objects("Account"))
    key_file, certificate_file = written.folder / "keys/airflow.key", written.folder / "keys/airflow.crt"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    assert key.public_key() == certificate.public_key()
    assert certificate.signature_hash_algorithm is not None and certificate.signature_hash_algorithm.name == "sha256"
    assert written.value("ExtlClntAppGlobalOauthSettings", "certificate") == certificate_file.read_text()
    lines = key_file.read_text().splitlines()[1:-1]
    others = b"".join(path.read_bytes() for path in written.folder.rglob("*") if path.is_file() and path != key_file)
    assert not [line for line in lines if line in written.output or line.encode() in others]
    assert "PRIVATE KEY" not in written.output
    assert "/keys/" in (written.folder / ".gitignore").read_text().splitlines()


def test_a_second_run_keeps_the_key(run_setup: RunSetup) -> None:
    first = run_setup("--flow", "jwt", *objects("Account"))
    before = (first.folder / "keys/airflow.key").read_bytes()
    second = run_setup("--flow", "jwt", *objects("Account", "Lead"), "--overwrite")
    assert granted(second) == ["Account", "Lead"]
    assert (second.folder / "keys/airflow.key").read_bytes() == before


def test_half_a_key_pair_is_refused(run_setup: RunSetup, refused: Refused) -> None:
    written = run_setup("--flow", "jwt", *objects("Account"))
    (written.folder / "keys/airflow.crt").unlink()
    assert "airflow.crt is not" in refused("--flow", "jwt", *objects("Account"))


def test_keys_that_do_not_belong_together_are_refused(run_setup: RunSetup, refused: Refused, tmp_path: Path) -> None:
    written = run_setup("--flow", "jwt", *objects("Account"))
    other = run_setup("--flow", "jwt", *objects("Account"), folder=tmp_path / "other")
    (other.folder / "keys/airflow.crt").replace(written.folder / "keys/airflow.crt")
    assert "does not belong to" in refused("--flow", "jwt", *objects("Account"))


def test_a_certificate_that_somebody_else_made_is_taken(run_setup: RunSetup, refused: Refused, tmp_path: Path) -> None:
    made = run_setup("--flow", "jwt", *objects("Account"))
    certificate, key = made.folder / "keys/airflow.crt", made.folder / "keys/airflow.key"
    other = tmp_path / "other"
    written = run_setup("--flow", "jwt", "--certificate", str(certificate), *objects("Account"), folder=other)
    assert written.value("ExtlClntAppGlobalOauthSettings", "certificate") == certificate.read_text()
    assert not (other / "keys").exists()
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    new = tmp_path / "new"
    arguments = ("--flow", "jwt", *objects("Account"), "--certificate")
    assert "must not go to Salesforce" in refused(*arguments, str(both), folder=new)
    assert "could not be read as a PEM certificate" in refused(*arguments, str(key), folder=new)
    assert not new.exists()


def certificate_of(key: Any, begins: timedelta, ends: timedelta) -> bytes:
    name, now = x509.Name([]), datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now + begins, now + ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_certificate_that_salesforce_would_not_take_is_refused(refused: Refused, tmp_path: Path) -> None:
    day, small, large = timedelta(days=1), *(rsa.generate_private_key(65537, size) for size in (1024, 2048))
    path = tmp_path / "other.crt"
    for key, begins, ends, sentence in (
        (ec.generate_private_key(ec.SECP256R1()), -day, day, "no RSA key with 2048 bits"),
        (small, -day, day, "no RSA key with 2048 bits"),
        (large, -2 * day, -day, "move it and its key away"),
        (large, day, 2 * day, "give one that holds today"),
    ):
        path.write_bytes(certificate_of(key, begins, ends))
        assert sentence in refused("--flow", "jwt", *objects("Account"), "--certificate", str(path))


def test_a_file_that_names_no_object_is_told(run_setup: RunSetup, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("RETRIES = 2")
    dag = ("--dag", str(tmp_path / "helpers.py"))
    assert "helpers.py names no object that it extracts" in " ".join(
        run_setup(*objects("Account"), *dag).output.split()
    )
    assert "helpers.py names no object that it extracts" in refused(*dag)


def test_files_in_the_way_are_left_alone(run_setup: RunSetup, refused: Refused) -> None:
    written = run_setup(*objects("Account"))
    before = {path: path.read_bytes() for path in written.folder.rglob("*") if path.is_file()}
    assert "is there already, with another content" in refused(*objects("Lead"))
    assert {path: path.read_bytes() for path in written.folder.rglob("*") if path.is_file()} == before
    run_setup(*objects("Account"))  # the same again is no conflict


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "No object to read"),
        (("--object", "Account; DROP"), "is not a name"),
        (("--object", "Account:"), "is not a name"),
        (("--object", "Account:Name,"), "is not a name"),
        (("--object", "Account", "--run-as", "airflow"), "--run-as 'airflow' is not usable"),
        (("--object", "Account", "--contact-email", "data"), "--contact-email 'data' is not usable"),
        (("--object", "Account", "--name", "§§§"), "makes no API name"),
        (("--object", "Account", "--name", "x" * 51), "use 50 at most"),
        (("--object", "Account", "--name", "bell \a"), "XML cannot hold"),
        (("--object", "Account", "--ip-range", "192.0.2.9-192.0.2.1"), "is not an IP range"),
        (("--object", "Account", "--ip-range", "office"), "is not an IP range"),
        (("--object", "Account", "--ip-range", "192.0.2.1-2001:db8::1"), "is not an IP range"),
        (("--object", "Account", *["--ip-range", "192.0.2.1"] * 129), "128 IP ranges"),
    ],
)
def test_what_cannot_work_is_a_sentence_and_writes_nothing(
    refused: Refused, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    for flow in ("client-credentials", "jwt"):
        assert sentence in refused("--flow", flow, *arguments)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/25", "192.0.2.0", "192.0.2.127"),
        ("192.0.2.3 - 192.0.2.9", "192.0.2.3", "192.0.2.9"),
        ("2001:db8::/126", "2001:db8::", "2001:db8::3"),
    ],
)
def test_ip_ranges(run_setup: RunSetup, text: str, first: str, last: str) -> None:
    written = run_setup(*objects("Account"), "--ip-range", text)
    (found,) = written.structures("ExtlClntAppOauthSettings", "trustedIpRanges")
    assert (found["startIpAddress"], found["endIpAddress"]) == (first, last)


def test_the_run_as_user_is_told_apart_from_the_contact(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Account"), "--contact-email", "team@acme.example.com")
    assert written.value("ExternalClientApplication", "contactEmail") == "team@acme.example.com"
    assert written.value("ExtlClntAppOauthConfigurablePolicies", "clientCredentialsFlowUser") == RUN_AS
