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
        "AssetWatcher(name=\"x\", trigger=SalesforceRecordsTrigger('Account', 'Industry = null'))",
        '@task.soql\nasync def rows():\n    return "SELECT Id FROM Account"',
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


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ("fields=['Name'], where=\"Industry = 'x' AND NOT rating = null\"", ("Name", "Industry", "rating")),
        ("fields=['Name', 'Industry'], where='industry != null AND name != null'", ("Name", "Industry")),
        ("fields=['Name'], where='Closed__c >= LAST_N_DAYS:3 AND Open__c < {{ ds }}'", ("Name", "Closed__c", "Open__c")),
        ("fields=['Name'], where=W, cursor_field='Synced__c'", ("Name", "Synced__c", "Phone")),
        ("fields=['Name'], where=None", ("Name",)),
        ("where='Phone = null'", ()),
    ],
)  # fmt: skip
def test_fields_that_only_conditions_read_come_with_the_object(
    tmp_path: Path, arguments: str, fields: tuple[str, ...]
) -> None:
    found = read(tmp_path, f'W = "Phone IN :phones"\nOp(sobject="Account", {arguments})')
    assert found.objects == [ObjectAccess("Account", fields)] and found.remarks == []


def test_mapped_conditions_come_with_their_objects(tmp_path: Path) -> None:
    entries = '[{"sobject": "Lead", "where": "Phone = null"}, {"sobject": "Account"}]'
    found = read(tmp_path, f'Op.partial(fields=["Name"], where="Fax = null").expand_kwargs({entries})')
    assert found.objects == [ObjectAccess("Lead", ("Name", "Phone")), ObjectAccess("Account", ("Name", "Fax"))]
    found = read(tmp_path, 'Op.partial(sobject="Lead", fields=["Name"]).expand(where=["Phone = null", "Fax = null"])')
    assert found.objects == [ObjectAccess("Lead", ("Name", "Phone", "Fax"))]


@pytest.mark.parametrize(
    "call",
    [
        "Op(sobject=\"Account\", where=\"{}\")",
        "Op(soql=\"SELECT Id FROM Account WHERE {}\")",
    ],
)  # fmt: skip
def test_other_objects_that_conditions_read_are_granted_or_told(tmp_path: Path, call: str) -> None:
    semi_join = "Id IN (SELECT AccountId FROM Contact c WHERE c.Email != null AND Owner.Name LIKE 'A%')"
    found = read(tmp_path, call.format(f"Parent.Site = null AND {semi_join}"))
    assert found.objects == [ObjectAccess("Account"), ObjectAccess("Contact", ("AccountId", "Email"))]
    assert "reads AccountId, Email of Contact, which is granted too" in found.remarks[-2]
    assert "Parent.Site, Contact.Owner.Name are read from parents" in found.remarks[-1]


def test_child_records_and_conditions_that_are_not_written_out_are_told(tmp_path: Path) -> None:
    found = read(tmp_path, 'Op(soql="SELECT Id, (SELECT Email FROM Contacts WHERE Fax = null) FROM Account")')
    assert found.objects == [ObjectAccess("Account")] and "child records (Contacts)" in found.remarks[-1]
    found = read(tmp_path, 'Op(sobject="Account", fields=["Name"], where=condition())')
    assert "where is not written out there" in found.remarks[0]


def test_what_named_by_hand_leaves_out_of_a_filter_is_told(run_setup: RunSetup, tmp_path: Path) -> None:
    dag = tmp_path / "filters.py"
    dag.write_text('Op(sobject="account", where="Industry = null AND BillingCity = null AND name = null")')
    written = run_setup("--dag", str(dag), "--object", "Account:Name,BillingStreet")
    granted = written.structures("PermissionSet", "objectPermissions")
    assert [each["object"] for each in granted] == ["Account"]
    assert "Extracts of Account filter by Industry, which --object leaves out" in " ".join(written.output.split())


def test_names_count_in_any_case_as_in_queries(run_setup: RunSetup, tmp_path: Path) -> None:
    dag = tmp_path / "cases.py"
    dag.write_text('[Op(sobject=s, fields=["name", "phone", "Phone"]) for s in ("contact", "Contact", "task")]')
    written = run_setup("--dag", str(dag))
    assert [e["object"] for e in written.structures("PermissionSet", "objectPermissions")] == ["contact"]
    assert [e["field"] for e in written.structures("PermissionSet", "fieldPermissions")] == ["contact.phone"]
    assert "task is not in the permission set" in written.output and "may not read Account" in written.output


def test_objects_that_a_sync_names_are_granted(tmp_path: Path) -> None:
    found = read(tmp_path, 'salesforce_sync("org", objects=["Account", "Lead"], where={"account": "Industry = null"})')
    assert {each.sobject.lower() for each in found.objects} == {"account", "lead"} and found.remarks == []
    found = read(
        tmp_path, 'salesforce_sync("org", where={"ContentDocumentLink": "LinkedEntityId IN (SELECT Id FROM Lead)"})'
    )
    assert [each.sobject for each in found.objects] == ["ContentDocumentLink", "Lead"]
    assert "takes objects by patterns" in found.remarks[0] and "Id of Lead, which is granted too" in found.remarks[1]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("{{ params.where }}", "where of Account is a template"),
        ("{% if x %}Industry = null{% endif %}", "where of Account is a template"),
        ("Id IN (SELECT )", "where of Account was not understood"),
    ],
)
def test_a_condition_that_says_too_little_is_told_and_its_object_granted(tmp_path: Path, where: str, says: str) -> None:
    found = read(tmp_path, f'Op(sobject="Account", fields=["Name"], where={where!r})')
    assert found.objects == [ObjectAccess("Account", ("Name",))] and says in found.remarks[0]


@pytest.mark.parametrize(
    "text", ["SELECT TYPEOF FROM Task", "SELECT FROM Task", "SELECT Id FROM Task WHERE Id IN (SELECT"]
)
def test_soql_that_is_cut_off_is_no_error_of_setup(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"Op(soql={text!r})")
    assert [each.sobject for each in found.objects] == ["Task"] or "was not understood" in found.remarks[0]
