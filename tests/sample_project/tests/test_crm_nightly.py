from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airflow_sfcc.testing import RunDag, SalesforceOrg


@pytest.fixture(autouse=True)
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DAG lands here instead of in the lake."""
    monkeypatch.setenv("LANDING", f"file://{tmp_path}")
    return tmp_path


@pytest.mark.sfcc_org(
    records={"Account": [{"Name": "Acme", "AnnualRevenue": 1_000_000.5}, {"Name": 'Löwe "& Söhne"'}]},
    rows={"Contact": 50},
)
def test_every_record_lands(sfcc_org: SalesforceOrg, run_dag: RunDag, landing: Path) -> None:
    run = run_dag("crm_nightly")
    assert run.state == "success"
    assert run.xcom("total") == 52
    accounts = pq.read_table(next(landing.glob("Account/extract=*/*.parquet"))).to_pylist()
    assert {account["Name"]: account["AnnualRevenue"] for account in accounts} == {
        "Acme": 1_000_000.5,
        'Löwe "& Söhne"': None,
    }


@pytest.mark.sfcc_org(records={"Account": [{"Name": "Acme"}]})
def test_a_server_error_is_got_over(sfcc_org: SalesforceOrg, run_dag: RunDag) -> None:
    sfcc_org.fail("describe", status=503)
    run = run_dag("crm_nightly")
    assert [extract["rows"] for extract in run.xcom("extract")] == [1, 0]
    assert sfcc_org.calls("describe") == 3


def test_without_its_right_the_user_is_told(sfcc_org: SalesforceOrg, run_dag: RunDag) -> None:
    sfcc_org.local_org.hidden_objects.add("Contact")
    run = run_dag("crm_nightly")
    assert run.state == "failed"
    assert run.tasks == {"extract[0]": "success", "extract[1]": "failed", "total": "upstream_failed"}
