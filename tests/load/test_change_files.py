"""Change sets for warehouses: whatever is loaded, merged and forgotten when, the warehouse's table is what the extracts say.

The statements of examples/warehouses are read by sqlglot in each dialect, and DuckDB does what they say.
"""

from __future__ import annotations

import ast
import importlib.util
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from upath import UPath

from airflow_sfcc.errors import TableBusyError
from airflow_sfcc.extract.land.lock import commit_lock
from airflow_sfcc.extract.model import IncrementalOptions
from airflow_sfcc.extract.plan.cursor import needed_columns
from airflow_sfcc.load import change_files
from airflow_sfcc.load.change_files import ChangeFiles, forget_merged, pending
from airflow_sfcc.load.loading import LoadOptions, load
from tests.load.made import COLUMNS, Made, expected_current, id_of, row

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "warehouses"
DIALECTS = ["snowflake", "bigquery", "redshift", "databricks"]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def warehouse_sql(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("warehouse_sql")


class Warehouse:
    """DuckDB in the place of a warehouse, which is told what to do in the dialect."""

    def __init__(self, sql: ModuleType, dialect: str) -> None:
        self._sql, self._dialect = sql, getattr(sql, dialect.upper())
        self._name = dialect
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")

    def merge(self, root: UPath) -> None:
        self._run(self._sql.staging(self._dialect, "account", COLUMNS))
        files = [str(root / "changes" / name) for name in pending(root)]
        self._database.execute("INSERT INTO account_staged BY NAME FROM read_parquet(?, union_by_name = true)", [files])
        self._run(self._sql.merging(self._dialect, "account", COLUMNS))

    def _run(self, statements: list[str]) -> None:
        for statement in statements:
            (text,) = sqlglot.transpile(statement, read=self._name, write="duckdb")
            self._database.execute(text)

    def names(self) -> dict[str, str]:
        rows = self._database.execute('SELECT "Id", "Name" FROM account').fetchall()
        found = dict(rows)
        assert len(found) == len(rows), "an Id stands twice"
        return found


def night(number: int, read: float, chance: random.Random) -> Made:
    ids = chance.sample(range(40), 8)
    gone = {id_of(each): read - 1 for each in ids[:2]}
    return Made(f"n{number}", read, [row(each, read - 3) for each in ids[2:]], gone, window=(read - 12, read))


def course(chance: random.Random) -> list[Made]:
    """A full extract, nights in the wrong order, a night that was committed again, full ones, one without rows."""
    nights = [night(number, 20 + 10 * number, chance) for number in range(5)]
    renamed = [{**each, "Name": "read again"} for each in nights[1].rows]
    again = Made("n1", 31, renamed, nights[1].deleted, window=nights[1].window)
    full = Made("full", 75, [row(each, 70, "full") for each in range(5, 50, 3)], full=True)
    after = night(9, 90, chance)
    return [
        Made("base", 10, [row(each, 1) for each in range(30)], full=True),
        *(nights[0], nights[2], nights[1], nights[4], nights[3], again, full, after),
        Made("empty", 100, [], full=True, window=(0, 100)),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_merged_table_is_what_the_extracts_say(dialect: str, tmp_path: Path, warehouse_sql: ModuleType) -> None:
    seed = DIALECTS.index(dialect)
    chance = random.Random(seed)
    lake, root = UPath(tmp_path / "lake"), UPath(tmp_path / "changes")
    warehouse, made = Warehouse(warehouse_sql, dialect), {}
    for each in course(chance):
        each.land(lake)
        made[each.name] = each
        result = load(lake, ChangeFiles(root, "changes"))
        assert result["extracts"] == [each.name]
        if chance.random() < 0.3:
            continue  # the warehouse is not there; the next run merges both
        warehouse.merge(root)
        wanted = {record_id: found["Name"] for record_id, found in expected_current(made.values()).items()}
        assert warehouse.names() == wanted, each.name
        if chance.random() < 0.7:  # else the run dies before it forgets
            assert forget_merged(root, result["version"]) and not pending(root)
    assert load(lake, ChangeFiles(root, "changes"))["extracts"] == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_are_of_their_dialect(dialect: str, warehouse_sql: ModuleType) -> None:
    of_dialect = getattr(warehouse_sql, dialect.upper())
    columns = {
        **COLUMNS,
        "Price__c": "decimal128(18, 2)",
        "Flag__c": "boolean",
        "Day__c": "date32",
        "Count__c": "int64",
    }
    statements = [
        *warehouse_sql.staging(of_dialect, "crm.account", columns),
        *warehouse_sql.merging(of_dialect, "crm.account", columns),
    ]
    copied = copy_statement(dialect)
    for statement in [*statements, *copied]:
        (parsed,) = sqlglot.parse(statement, read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
        assert parsed is not None and not isinstance(parsed, exp.Command), statement
    assert [type(sqlglot.parse_one(text, read=dialect)) for text in copied] == [exp.Copy] * len(copied)
    with pytest.raises(sqlglot.ParseError):
        sqlglot.parse(statements[-1] + " AND", read=dialect)


def copy_statement(dialect: str) -> list[str]:
    """The vendor's COPY in the example, filled in; none in BigQuery's, which has an operator for it."""
    tree = ast.parse((EXAMPLES / f"salesforce_to_{dialect}.py").read_text())
    values = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.JoinedStr)
        and ast.unparse(node.targets[0]) == "copy"
    ]
    names = {
        "table": "crm.account",
        "sobject": "Account",
        "STAGE": "@CRM.PUBLIC.LAKE",
        "BUCKET_URL": "s3://lake",
        "ROLE": "r",
    }
    return [eval(compile(ast.Expression(value), "copy", "eval"), dict(names)) for value in values]  # noqa: S307


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_columns_of_an_example_are_all_that_lands(dialect: str) -> None:
    """Redshift and Databricks refuse files that have more than the staged table; an extract adds what it needs."""
    source = (EXAMPLES / f"salesforce_to_{dialect}.py").read_text()
    tree = [each for each in ast.parse(source).body if isinstance(each, ast.Assign)]
    values: dict[str, Any] = {}
    for each in tree:
        if ast.unparse(each.targets[0]) in ("OWN", "OBJECTS"):
            exec(compile(ast.Module([each], []), dialect, "exec"), values)  # noqa: S102
    fields = [{"name": name, "type": "datetime", "filterable": True} for name in ("Id", "SystemModstamp", "IsDeleted")]
    needed = needed_columns(
        {"name": "Account", "fields": fields}, IncrementalOptions(mode="incremental", deletes="hard")
    )
    assert "IsDeleted" in needed
    for columns in values["OBJECTS"].values():
        assert set(needed) <= set(columns)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_example_is_a_dag(dialect: str, warehouse_sql: ModuleType) -> None:
    """Where the vendor's package is installed."""
    needed = {"bigquery": "airflow.providers.google", "databricks": "airflow.providers.databricks"}.get(dialect)
    if needed:
        pytest.importorskip(needed)
    module = example(f"salesforce_to_{dialect}")
    assert set(module.OBJECTS) == {"Account", "Contact"}


def test_what_a_dead_load_left_is_removed_and_two_loads_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, root = UPath(tmp_path / "lake"), UPath(tmp_path / "changes")
    Made("base", 10, [row(1, 1)], full=True).land(lake)
    load(lake, ChangeFiles(root, "changes"))
    left = root / "changes" / "changes-00000002-of-a-killed-load.parquet"
    left.write_bytes(b"half")
    Made("night", 20, [row(2, 15)], window=(8, 20)).land(lake)
    monkeypatch.setattr(change_files, "_LOCK_WAITS", 0.1)
    with (
        commit_lock(root, "another load"),
        pytest.raises(TableBusyError, match="Another load of changes is under way"),
    ):
        load(lake, ChangeFiles(root, "changes"))
    result = load(lake, ChangeFiles(root, "changes"))
    assert result["version"] == 2 and not left.exists() and len(pending(root)) == 2


def test_a_failed_disk_leaves_no_change_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, root = UPath(tmp_path / "lake"), UPath(tmp_path / "changes")
    Made("base", 10, [row(1, 1)], full=True).land(lake)

    def full(*arguments: Any) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(change_files, "put_if_absent", full)
        with pytest.raises(Exception, match=r"No space left on device.*nothing was loaded"):
            load(lake, ChangeFiles(root, "changes"))
    assert pending(root) == []
    assert load(lake, ChangeFiles(root, "changes"), LoadOptions())["extracts"] == ["base"]
