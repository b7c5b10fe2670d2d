"""What a person reads when a destination cannot be written, or is none."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from click.testing import CliRunner

from airflow_sfcc._airflow.vacuum_command import vacuum
from airflow_sfcc.errors import StorageError
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceVacuumOperator
from tests.conftest import RunningOrg


def extract(destination: str, **options: Any) -> SalesforceExtractOperator:
    settings = {"sobject": "Contact", "fields": ["Id"], **options}
    return SalesforceExtractOperator(task_id="extract", destination=destination, **settings)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("gs://lake/{sobject}", "install apache-airflow-providers-google beside Airflow"),
        ("lake://here/{sobject}", "use file://, s3://, gs:// or abfs://"),
    ],
)
def test_a_scheme_that_nothing_here_writes(connected_org: RunningOrg, context: Any, url: str, advice: str) -> None:
    with pytest.raises(AirflowFailException, match="cannot be used here") as failure:
        extract(url).execute(context)
    assert advice in str(failure.value) and url.partition("{")[0] in str(failure.value)
    assert connected_org.calls("query") == 0


@pytest.mark.parametrize("name", ["crm [1]", "crm*", "crm?"])
def test_a_folder_whose_name_is_a_pattern(tmp_path: Path, context: Any, name: str) -> None:
    """A vacuum of `crm [1]`, say, would also have removed what is superseded in `crm 1`."""
    refused = "takes? for a pattern of several folders"
    with pytest.raises(ValueError, match=refused):
        extract(f"file://{tmp_path}/{name}/{{sobject}}")
    rendered = extract("file://{{ params.place }}/{sobject}")
    rendered.destination = f"file://{tmp_path}/{name}/{{sobject}}"
    with pytest.raises((ValueError, AirflowFailException), match=refused):
        rendered.execute(context)
    ended = CliRunner().invoke(vacuum, [str(tmp_path / name)])
    assert ended.exit_code and "pattern of several folders" in ended.output + str(ended.exception)


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_folder_that_cannot_be_made(connected_org: RunningOrg, context: Any, tmp_path: Path, mode: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"The storage of the destination .*/file/Contact failed") as failure:
        extract(f"file://{tmp_path}/file/{{sobject}}", mode=mode).execute(context)
    assert not failure.value.permanent and "may write to it" in str(failure.value)
    cause = failure.value.__cause__
    assert isinstance(cause, OSError) and cause.__cause__ is None and cause.__context__ is None


def test_a_store_that_cannot_be_reached(
    connected_org: RunningOrg, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the libraries of stores raise is no OSError."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        extra = {
            "endpoint_url": endpoint,
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"max_attempts": 1}},
        }
        connection = {"conn_type": "aws", "login": "key", "password": "a secret of the store", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
        with pytest.raises(StorageError, match=r"The storage of the destination s3://store@lake/Contact failed"):
            extract("s3://store@lake/{sobject}").execute(context)


def test_an_incremental_run_says_what_it_reads(
    connected_org: RunningOrg, context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = extract(f"file://{tmp_path}/{{sobject}}", mode="incremental").execute(context)
    sentence = f"It reads what changed by SystemModstamp up to {result['window']['end']}; what changes later"
    assert sentence in capsys.readouterr().out


def test_vacuum_says_when_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "mistyped"):
        told = CliRunner().invoke(vacuum, [str(folder), "--dry-run"])
        assert told.exit_code == 0 and "holds no extracts: name the folder of one object" in told.output


def test_the_vacuum_operator_keeps_the_newest_full_extracts(
    connected_org: RunningOrg, context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landing = f"file://{tmp_path}/{{sobject}}"
    for run_id in ("a", "b", "c"):
        context["ti"].run_id = run_id
        for sobject in ("Account", "Contact"):
            extract(landing, sobject=sobject).execute(context)
    task = SalesforceVacuumOperator(task_id="v", destination=landing, sobjects=["Account", "Contact"], keep=2)
    rehearsal = SalesforceVacuumOperator(
        task_id="r", destination=landing, sobjects=["Account", "Contact"], keep=2, dry_run=True
    )
    assert [each["path"] for each in rehearsal.execute(context)] == [each["path"] for each in task.execute(context)]
    told = capsys.readouterr().out
    assert told.count("superseded by the full extract") == 4 and "Would remove 1 folder" in told
    assert all(len(list((tmp_path / name).glob("extract=*"))) == 2 for name in ("Account", "Contact"))
    assert task.execute(context) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"destination": "file:///x/{sobject}"}, "name the objects in sobjects"),
        ({"destination": "file:///x/a", "sobjects": ["Account"]}, "sobjects has no effect"),
    ],
)
def test_the_vacuum_operator_needs_the_names_that_fill_its_destination(
    context: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(AirflowFailException, match=says):
        SalesforceVacuumOperator(task_id="v", **options).execute(context)
