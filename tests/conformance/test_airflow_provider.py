"""The hook of apache-airflow-providers-salesforce, in an Airflow of its own, with client credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.conftest import API_VERSION, CLIENTS, ForeignOrg
from tests.conformance.environments import PROVIDER
from tests.conformance.rows import assert_read_whole

pytestmark = pytest.mark.conformance


def test_whole_object_is_read(foreign_org: ForeignOrg, tmp_path: Path) -> None:
    org = foreign_org.org
    extra = {
        "domain": org.config.my_domain_host.removesuffix(".salesforce.com"),
        "consumer_key": org.config.consumer_key,
        "consumer_secret": org.config.consumer_secret,
        "version": API_VERSION,
    }
    airflow = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW_CONN_SALESFORCE_DEFAULT": json.dumps({"conn_type": "salesforce", "extra": extra}),
    }
    answer = tmp_path / "answer.json"  # Airflow logs to standard output
    task = foreign_org.task("read", "Account", answer=str(answer))
    foreign_org.run(
        [PROVIDER.path("bin/python"), str(CLIENTS / "use_airflow_provider.py")], given=json.dumps(task), also=airflow
    )
    read = json.loads(answer.read_text())

    account = org.schema.sobject("Account")
    assert account is not None
    assert read["total"] == org.records.count("Account")
    assert read["fields"] == [field.name for field in account.fields]
    assert_read_whole(org, "Account", read["rows"])
    assert_read_whole(org, "Account", read["rows_with_deleted"], include_deleted=True)
