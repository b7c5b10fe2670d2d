"""`airflow-sfcc rotate`: whatever happens, one pair works that is written down somewhere."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_sfcc.cli import commands
from airflow_sfcc.org_setup import rotation
from tests.org_setup.credentials_org import ADMIN, OLD, CredentialsOrg, credentials_org


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[CredentialsOrg]:
    monkeypatch.delenv("AIRFLOW_CONN_SFCC_DEFAULT", raising=False)
    with credentials_org() as org:
        set_connection(monkeypatch, "SFCC_DEFAULT", org, OLD)
        set_connection(monkeypatch, "ADMIN", org, ADMIN)
        monkeypatch.setattr(rotation, "sleep", lambda seconds: None)
        yield org


def set_connection(
    monkeypatch: pytest.MonkeyPatch, name: str, org: CredentialsOrg, pair: tuple[str, str], **extra: Any
) -> None:
    extra = {"max_retries": 0, **extra}
    connection = {"conn_type": "sfcc", "host": org.url, "login": pair[0], "password": pair[1], "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))


def rotate(*arguments: str) -> Result:
    result = CliRunner().invoke(commands, ["rotate", "sfcc_default", "--with", "admin", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*arguments: str) -> str:
    result = rotate(*arguments)
    assert result.exit_code == 1, result.output
    return " ".join(result.stderr.split())


def printed(result: Result) -> tuple[str, str]:
    connection = json.loads(result.stdout.splitlines()[-1])
    return connection["login"], connection["password"]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("lists_keys", [False, True])
def test_a_pair_is_staged_tried_stored_and_activated(org: CredentialsOrg, wrapped: bool, lists_keys: bool) -> None:
    org.wrapped, org.lists_keys = wrapped, lists_keys
    result = rotate("--print")
    assert result.exit_code == 0, result.output
    assert printed(result) == org.primary
    assert org.staged == ("Rotated", *OLD)
    assert result.stderr.splitlines() == [
        "Staged a new pair for Airflow.",
        "A login with the new pair works.",
        "The new pair is stored.",
        "The new pair is active. The old one is good for another 30 days.",
    ]
    assert not [secret for secret in org.secrets() if secret in result.stderr]
    kept = json.loads(result.stdout.splitlines()[-1])
    assert kept["host"] == org.url and kept["extra"] == {"max_retries": 0} and kept["conn_type"] == "sfcc"


def test_the_file_is_its_owners_alone(org: CredentialsOrg, tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    result = rotate("--output", str(path))
    assert result.exit_code == 0 and result.stdout == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["password"] == org.primary[1]
    assert not [secret for secret in org.secrets() if secret in result.output]


def test_a_command_is_handed_the_connection(org: CredentialsOrg, tmp_path: Path) -> None:
    path = tmp_path / "stored"
    script = f"import sys, pathlib; pathlib.Path({str(path)!r}).write_text(sys.stdin.read())"
    assert rotate("--to-command", f'{sys.executable} -c "{script}"').exit_code == 0
    assert json.loads(path.read_text())["login"] == org.primary[0]


def test_a_pair_that_cannot_be_stored_is_not_activated(org: CredentialsOrg) -> None:
    assert "exit code 3: the new pair was not stored" in refused(
        "--to-command", f'{sys.executable} -c "raise SystemExit(3)"'
    )
    assert org.primary == OLD
    result = rotate("--print")
    assert printed(result) == org.primary != OLD
    assert org.made == 1, "the pair of the first run was used"


class Killed(BaseException):
    """As a signal that ends the process."""


@pytest.mark.parametrize("first", [(), ("--activate-first",)])
@pytest.mark.parametrize("where", ["login", "store", "activate", "stage"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_anywhere_it_goes_on_when_run_again(
    org: CredentialsOrg, monkeypatch: pytest.MonkeyPatch, where: str, when: str, first: tuple[str, ...]
) -> None:
    """The process dies around each step. A pair works throughout, and a second run ends with the stored one active."""
    stored: list[tuple[str, str]] = [OLD]

    def put(new: Any) -> None:
        stored.append((new.login, new.password))
        set_connection(monkeypatch, "SFCC_DEFAULT", org, stored[-1])

    from airflow_sfcc._airflow import rotate_command

    monkeypatch.setattr(rotate_command, "_destination", lambda fields, *_: rotate_command._Destination(fields, put))
    with monkeypatch.context() as broken:
        _die(broken, where, when)
        with pytest.raises(Killed):
            rotate("--print", *first)
    assert works(org, stored[-1])
    done = (where, when, first) in (("activate", "after", ()), ("store", "after", ("--activate-first",)))
    result = rotate("--print", *first)
    assert result.exit_code == done, result.output
    assert ("was rotated not long ago" in " ".join(result.output.split())) == done
    assert org.primary == stored[-1] and org.primary != OLD
    assert org.staged == ("Rotated", *OLD)
    assert org.made == 1


def _die(broken: pytest.MonkeyPatch, where: str, when: str) -> None:
    owner, name = {
        "login": (rotation.Rotation, "_verify"),
        "store": (rotation.Rotation, "_store"),
        "activate": (rotation.CredentialsApi, "activate"),
        "stage": (rotation.CredentialsApi, "stage"),
    }[where]
    whole: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any) -> None:
        if when == "after":
            whole(*arguments)
        raise Killed

    broken.setattr(owner, name, dying)


def works(org: CredentialsOrg, pair: tuple[str, str]) -> bool:
    """Whether a login with the pair works, as the org stands."""
    usable = {org.primary}
    if org.staged and (org.accepts_staged or org.staged[0] == "Rotated"):
        usable.add(org.staged[1:])
    return pair in usable


def test_a_new_pair_may_take_a_while_to_be_known(org: CredentialsOrg) -> None:
    org.refuses_logins = 3
    assert rotate("--print").exit_code == 0


def test_a_pair_that_is_refused_is_not_activated(org: CredentialsOrg) -> None:
    org.accepts_staged = False
    sentence = refused("--print")
    assert "Nothing was changed, and the old pair is active." in sentence
    assert "--activate-first" in sentence
    assert "refused for 10 minutes" in sentence
    assert org.primary == OLD


def test_orgs_that_accept_only_active_pairs(org: CredentialsOrg) -> None:
    org.accepts_staged = False
    result = rotate("--print", "--activate-first")
    assert result.exit_code == 0, result.output
    assert printed(result) == org.primary != OLD


def test_a_staged_pair_whose_secret_is_gone_is_no_use(org: CredentialsOrg) -> None:
    org.shows_secret, org.staged = False, ("Active", "3MVG9lost", "LOST-0123456789")
    assert "whose secret Salesforce does not show again" in refused("--print")
    assert org.primary == OLD
    assert printed(rotate("--print", "--discard-staged")) == org.primary


def test_the_pair_of_the_last_rotation_is_not_deleted_unasked(org: CredentialsOrg) -> None:
    org.staged = ("Rotated", "3MVG9older", "OLDER-0123456789")
    assert "was rotated not long ago" in refused("--print")
    assert org.staged is not None and org.primary == OLD
    assert rotate("--print", "--discard-staged").exit_code == 0
    assert org.staged == ("Rotated", *OLD)


def test_an_expired_pair_gives_way(org: CredentialsOrg) -> None:
    org.staged = ("Expired", "3MVG9older", "OLDER-0123456789")
    assert printed(rotate("--print")) == org.primary


def test_after_a_leak_the_old_pair_goes_at_once(org: CredentialsOrg) -> None:
    result = rotate("--print", "--revoke-old")
    assert result.exit_code == 0 and org.staged is None
    assert "The old pair is deleted." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--with", "sfcc_default"), "of the same app"),
        (("--app", "Nonsense"), "neither active nor staged in the app Nonsense"),
        (("--with", "nowhere"), "no connection 'nowhere'"),
        (("--to-command", ""), "is no command here"),
        (("--to-command", "no-such-program put"), "is no command here"),
        (("--to-command", "vault 'put"), "No closing quotation"),
    ],
)
def test_what_it_needs_is_checked_first(org: CredentialsOrg, arguments: tuple[str, ...], sentence: str) -> None:
    printed = () if "--to-command" in arguments else ("--print",)
    assert sentence in refused(*printed, *arguments)
    assert not [each for each in org.requests if each.startswith(("POST /services/data", "PATCH", "DELETE"))]


def test_the_setting_and_the_permissions_are_named(org: CredentialsOrg) -> None:
    org.enabled = False
    sentence = refused("--print")
    assert "Allow access to External Client App consumer secrets via REST API" in sentence
    assert "External Client App Developer and View Client Secret" in sentence
    assert "docs/salesforce-setup.md#rotating-the-secret" in sentence


def test_an_old_api_version_has_no_staged_credentials(org: CredentialsOrg) -> None:
    org.version = "62.0"
    assert "API version 65.0 or newer" in refused("--print")


def test_the_two_connections_must_be_of_one_org(org: CredentialsOrg) -> None:
    org.org_ids[ADMIN[0]] = "00DRO0000000002AAA"
    assert "lead to different orgs" in refused("--print")
    assert org.primary == OLD and org.staged is None


def test_a_connection_with_a_private_key_has_no_secret_to_rotate(
    org: CredentialsOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(monkeypatch, "SFCC_DEFAULT", org, (OLD[0], "-----BEGIN PRIVATE KEY-----\n…"))
    assert "logs in with a private key" in refused("--print")


@pytest.mark.parametrize("name", ["SFCC_DEFAULT", "ADMIN"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"conn_type": "postgres"},
            "of type 'postgres', not 'sfcc' (Salesforce (Client Credentials)); nothing was sent",
        ),
        ({"extra": "allow_http=true"}, "is set but unreadable. As JSON it is one object with conn_type, host"),
    ],
)
def test_connections_that_are_none_of_salesforce_are_not_logged_in_with(
    org: CredentialsOrg, monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any], sentence: str
) -> None:
    variable = f"AIRFLOW_CONN_{name}"
    monkeypatch.setenv(variable, json.dumps({**json.loads(os.environ[variable]), **changes}))
    assert sentence in refused("--print")
    assert org.requests == []


def test_where_the_pair_goes_is_said_once(org: CredentialsOrg, tmp_path: Path) -> None:
    for arguments in ((), ("--print", "--store")):
        result = CliRunner().invoke(commands, ["rotate", "sfcc_default", "--with", "admin", *arguments])
        assert result.exit_code == 2 and "Say where the new pair goes" in result.output
    path = tmp_path / "there"
    path.touch()
    assert "is there already" in refused("--output", str(path))
    assert "set in the environment" in refused("--store")
    assert org.requests == []
