"""Which objects a DAG file names, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.org_setup.access import ObjectAccess
from airflow_sfcc.org_setup.dag_objects import Found, objects_in
from tests.org_setup.conftest import RunSetup

DAGS = Path(__file__).parents[2] / "dags"


def read(tmp_path: Path, text: str) -> Found:
    path = tmp_path / "my_dag.py"
    path.write_text(text)
    return objects_in(path)


@pytest.mark.parametrize(
    "text",
    [
        'SalesforceExtractOperator(task_id="x", sobject="Account", destination="d")',
        'NAME = "Account"\nSalesforceExtractOperator(sobject=NAME)',
        'NAME: str = "Account"\nsalesforce_extract("group", sobject=NAME)',
        'OBJECTS = ["Account"]\nSalesforceExtractOperator.partial(task_id="x").expand(sobject=OBJECTS)',
        'SalesforceExtractOperator.partial(task_id="x").expand(sobject=["Account"])',
        'SalesforceExtractOperator.partial(task_id="x").expand_kwargs([{"sobject": "Account"}])',
        'for name in ("Account",):\n    SalesforceExtractOperator(sobject=name)',
        '[SalesforceExtractOperator(sobject=name) for name in ["Account"]]',
        'SalesforceExtractOperator(task_id="x", **{"sobject": "Account"}, destination="d")',
        'def dag():\n    objects = {"Account": 1}\n    for name in objects:\n        Operator(sobject=name)',
        "SalesforceQueryOperator(soql=\"SELECT Id FROM Account WHERE Name = 'FROM Lead'\")",
        '@task.soql\ndef rows():\n    return "SELECT Id FROM Account"',
        '@task.soql(max_records=1)\ndef rows():\n    return "SELECT Id FROM Account"',
    ],
)
def test_an_object_is_found_wherever_a_dag_may_name_it(tmp_path: Path, text: str) -> None:
    assert {each.sobject for each in read(tmp_path, text).objects} == {"Account"}


def test_fields_come_with_the_object(tmp_path: Path) -> None:
    found = read(tmp_path, 'F = ["Name", "Owner.Email"]\nOp.partial(fields=F).expand(sobject=["Account", "Lead"])')
    assert found.objects == [ObjectAccess("Account", ("Name",)), ObjectAccess("Lead", ("Name",))]
    assert "Owner.Email are read from parents" in found.remarks[0]


@pytest.mark.parametrize(
    "text",
    [
        'Operator(sobject=os.environ["OBJECT"])',
        "Operator.partial().expand(sobject=objects())",
        "Operator.partial().expand_kwargs(objects())",
        "Operator(sobject=f'{x}')",
        'Operator(destination="d", **settings)',
        'Operator.partial(destination="d").expand(**mapped())',
        "@task.soql\ndef rows():\n    return build()",
        'Operator(sobject="not a name")',
        'Operator(soql="SELECT 1")',
        'salesforce_sync("org", objects=["*"])',
    ],
)
def test_what_is_not_written_out_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.objects == []
    assert "my_dag.py, line " in found.remarks[0]


def test_the_dag_is_not_run(tmp_path: Path) -> None:
    read(tmp_path, f'open({str(tmp_path / "ran")!r}, "w")')
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["def (", "x = '\0'"])
def test_a_file_that_is_not_python_is_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="could not be read as a DAG file"):
        read(tmp_path, text)


def test_the_example_dags_name_their_objects() -> None:
    found = objects_in(DAGS / "salesforce_nightly.py")
    assert {"Account", "Contact"} <= {each.sobject for each in found.objects}
    assert found.remarks == []


def test_named_by_hand_an_object_may_be_narrower_than_the_dag(run_setup: RunSetup) -> None:
    written = run_setup("--dag", str(DAGS / "salesforce_nightly.py"), "--object", "Contact:Email")
    contact = next(e for e in written.structures("PermissionSet", "objectPermissions") if e["object"] == "Contact")
    assert contact["viewAllFields"] == "false"
    assert "Account" in [each["object"] for each in written.structures("PermissionSet", "objectPermissions")]
