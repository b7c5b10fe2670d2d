"""What is peculiar to Delta tables: which files are written anew, links, other writers, object stores."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from upath import UPath

from airflow_sfcc._airflow.vacuum_command import vacuum
from airflow_sfcc.errors import TableBusyError, TableError
from airflow_sfcc.load.delta import files, rewrite
from airflow_sfcc.load.delta.table import DeltaTable
from airflow_sfcc.load.loading import LoadOptions, load
from tests.load.made import COLUMNS, Made, expected_current, id_of, row
from tests.load.tables import Loaded, delta_options, in_delta

pytestmark = pytest.mark.timeout(1200)
"""A server of another process has to start, which takes its time on a busy machine."""


@pytest.fixture
def delta(tmp_path: Path) -> Loaded:
    return in_delta(UPath(tmp_path / "tables"))


def table_of(tmp_path: Path) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(str(tmp_path / "tables" / "Account"))


def paths(tmp_path: Path) -> set[str]:
    return {str(path) for path in table_of(tmp_path).file_uris()}


def check(delta: Loaded, made: list[Made]) -> None:
    wanted = {record_id: found["Name"] for record_id, found in expected_current(made).items()}
    assert {record_id: found["Name"] for record_id, found in delta.by_id().items()} == wanted


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and row groups of so few rows that a small table has many."""
    for module in (files, rewrite):
        monkeypatch.setattr(module, "FILE_BYTES", 6_000)
        monkeypatch.setattr(module, "GROUP_ROWS", 32)
    monkeypatch.setattr(rewrite, "SMALL_BYTES", 1_500)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("id_length", [18, 15])
def test_many_files_equal_what_the_extracts_say(tmp_path: Path, delta: Loaded, in_order: bool, id_length: int) -> None:
    chance = random.Random(f"{in_order} {id_length}")
    lake = UPath(tmp_path / "lake")

    def numbered(number: int, minute: float) -> dict[str, Any]:
        return {**row(number, minute), "Id": id_of(number)[-id_length:]}

    numbers = chance.sample(range(10_000), 3_000)
    made = [Made("base", 10, [numbered(each, 1) for each in (sorted(numbers) if in_order else numbers)], full=True)]
    made[0].land(lake)
    load(lake, delta.make("Account"))
    check(delta, made)
    for night in range(1, 7):
        read = 10 + night * 10
        low = chance.randint(0, 9_000)
        chosen = {chance.randint(low, low + 600) for _ in range(chance.choice([1, 40, 400]))}
        gone = {id_of(each)[-id_length:]: read - 3 for each in chance.sample(sorted(chosen), len(chosen) // 5)}
        made.append(
            Made(
                f"n{night}", read, [numbered(each, read - 5) for each in sorted(chosen)], gone, window=(read - 12, read)
            )
        )
        made[-1].land(lake)
        before = paths(tmp_path)
        load(lake, delta.make("Account"))
        check(delta, made)
        assert night > 1 or len(before) == 1 or before & paths(tmp_path), "files without changes stay"
    sizes = pa.table(table_of(tmp_path).get_add_actions(flatten=True))
    assert sizes.num_rows > 5 and sum(sizes["num_records"].to_pylist()) == len(expected_current(made))


@pytest.mark.usefixtures("small_files")
def test_only_files_with_changed_ids_are_written_anew(tmp_path: Path, delta: Loaded) -> None:
    lake = UPath(tmp_path / "lake")
    rows = [row(number, 1, IsDeleted=number == 7) for number in range(3_000)]
    made = [Made("base", 10, rows, full=True, columns={**COLUMNS, "IsDeleted": "boolean"})]
    made[0].land(lake)
    load(lake, delta.make("Account"))  # a row in the recycle bin, so it is written and not linked
    before = paths(tmp_path)
    made.append(Made("night", 20, [row(5, 15)], window=(8, 20)))
    made[-1].land(lake)
    load(lake, delta.make("Account"))
    check(delta, made)
    assert len(before) > 4 and len(before - paths(tmp_path)) == 1


def test_the_first_load_links_the_extracts_files(tmp_path: Path, delta: Loaded) -> None:
    lake = UPath(tmp_path / "lake")
    Made("base", 10, [row(number, 1) for number in range(100)], full=True).land(lake)
    load(lake, delta.make("Account"))
    (file,) = paths(tmp_path)
    assert Path(file).stat().st_ino == (tmp_path / "lake/extract=base/part-00000.parquet").stat().st_ino


def test_a_time_of_the_day_is_text(tmp_path: Path, delta: Loaded) -> None:
    import datetime

    lake = UPath(tmp_path / "lake")
    columns = {**COLUMNS, "Opens__c": "time32[ms]"}
    rows = [row(1, 1, Opens__c=datetime.time(3, 41, 5)), row(2, 1, Opens__c=None)]
    Made("base", 10, rows, full=True, columns=columns).land(lake)
    load(lake, delta.make("Account"))
    Made("night", 20, [row(2, 15, Opens__c=datetime.time(23, 0, 0, 250_000))], columns=columns, window=(8, 20)).land(
        lake
    )
    load(lake, delta.make("Account"))
    assert [each["Opens__c"] for each in sorted(delta.rows(), key=lambda each: str(each["Id"]))] == [
        "03:41:05.000",
        "23:00:00.250",
    ]


def test_changes_of_another_writer_are_noticed_and_compaction_is_none(tmp_path: Path, delta: Loaded) -> None:
    lake = UPath(tmp_path / "lake")
    made = [Made("base", 10, [row(1, 1), row(2, 1)], full=True)]
    made[0].land(lake)
    load(lake, delta.make("Account"))
    table_of(tmp_path).optimize.compact()
    made.append(Made("night", 20, [row(3, 15)], window=(8, 20)))
    made[-1].land(lake)
    load(lake, delta.make("Account"))
    check(delta, made)
    table_of(tmp_path).delete("\"Id\" = '001000000000000001'")
    Made("later", 30, [row(4, 25)], window=(18, 30)).land(lake)
    with pytest.raises(TableError, match=r"version \d+ is a DELETE by another writer\. Nothing was loaded"):
        load(lake, delta.make("Account"))
    assert set(delta.by_id()) == {id_of(2), id_of(3)}


def test_a_commit_computed_from_an_older_version_is_refused_and_computed_again(
    tmp_path: Path, delta: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = UPath(tmp_path / "lake")
    made = [Made("base", 10, [row(1, 1), row(2, 1)], full=True), Made("night", 20, [row(3, 15)], window=(8, 20))]
    made[0].land(lake)
    load(lake, delta.make("Account"))
    made[1].land(lake)
    original, others = DeltaTable._commit, [1]

    def after_another(self: DeltaTable, *arguments: Any) -> None:
        if others.pop() if others else 0:
            load(lake, delta.make("Account"))
        original(self, *arguments)

    monkeypatch.setattr(DeltaTable, "_commit", after_another)
    lines: list[str] = []
    result = load(lake, delta.make("Account"), LoadOptions(log=lines.append))
    assert result["extracts"] == [] and "Computing the changes again" in lines[0]
    check(delta, made)
    referred = {Path(path).name for path in paths(tmp_path)}
    assert len({path.name for path in (tmp_path / "tables" / "Account").glob("part-*")} - referred) <= 1

    def always_after_another(self: DeltaTable, *arguments: Any) -> None:
        table_of(tmp_path).alter.set_table_properties({"delta.appendOnly": "false"})
        original(self, *arguments)

    Made("later", 30, [row(4, 25)], window=(18, 30)).land(lake)
    monkeypatch.setattr(DeltaTable, "_commit", always_after_another)
    with pytest.raises(TableBusyError, match="was changed while this load was under way"):
        load(lake, delta.make("Account"))


@pytest.mark.usefixtures("small_files")
def test_a_load_beside_a_compaction(tmp_path: Path, delta: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = UPath(tmp_path / "lake")
    made = [Made("base", 10, [row(number, 1) for number in range(2000)], full=True)]
    made.append(Made("again", 15, [row(number, 12) for number in range(0, 2000, 3)], window=(8, 15)))
    for each in made:
        each.land(lake)
        load(lake, delta.make("Account"))
    made.append(Made("night", 20, [row(number, 17) for number in range(1, 2000, 400)], window=(8, 20)))
    made[-1].land(lake)
    original = DeltaTable._commit
    compacted: list[int] = []

    def after_a_compaction(self: DeltaTable, *arguments: Any) -> None:
        if not compacted:
            compacted.append(table_of(tmp_path).optimize.compact()["numFilesRemoved"])
        original(self, *arguments)

    monkeypatch.setattr(DeltaTable, "_commit", after_a_compaction)
    result = load(lake, delta.make("Account"))
    assert compacted[0] > 1 and result["extracts"] == ["night"]
    check(delta, made)


def test_tables_in_an_object_store(store: UPath) -> None:
    delta = in_delta(store / "tables", delta_options(store))
    lake, made = store / "lake", []
    for each in (
        Made("base", 10, [row(number, 1) for number in range(50)], full=True),
        Made("night", 20, [row(3, 15), row(99, 15)], {id_of(7): 16}, window=(8, 20)),
        Made("late", 15, [row(3, 12), row(8, 12)], {id_of(9): 12}, window=(8, 15)),
    ):
        each.land(lake)
        made.append(each)
        load(lake, delta.make("Account"))
        check(delta, made)


def test_vacuum_removes_what_no_version_within_the_retention_needs(tmp_path: Path, delta: Loaded) -> None:
    lake, url = UPath(tmp_path / "lake"), f"delta+file://{tmp_path}/tables/Account"
    made = [Made("base", 10, [row(1, 1), row(2, 1)], full=True), Made("night", 20, [row(2, 15)], window=(8, 20))]
    for each in made:
        each.land(lake)
        load(lake, delta.make("Account"))
    folder = tmp_path / "tables" / "Account"
    (folder / "part-of-a-killed-load.parquet").write_bytes(b"half")
    (folder / "notes.txt").write_text("somebody's")

    def told(*options: str) -> str:
        result = CliRunner().invoke(vacuum, [url, *options])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()[-1]

    assert told().startswith("Removed 0 files"), "what is younger than a week stays"
    assert told("--older-than", "0", "--dry-run").startswith("Would remove 2 files")
    assert told("--older-than", "0").startswith("Removed 2 files")
    assert {path.name for path in folder.glob("part-*")} == {Path(path).name for path in paths(tmp_path)}
    assert (folder / "notes.txt").exists()
    check(delta, made)
    made.append(Made("later", 30, [row(3, 25)], window=(18, 30)))
    made[-1].land(lake)
    load(lake, delta.make("Account"))
    check(delta, made)
    assert pq.read_table(str(lake / "extract=base" / "part-00000.parquet")).num_rows == 2, (
        "the extract's own file stays"
    )


def test_vacuum_is_for_tables_of_loads(tmp_path: Path) -> None:
    deltalake.write_deltalake(str(tmp_path / "theirs"), pa.table({"Id": ["1"]}))
    for place, sentence in (("nothing", "is no Delta table"), ("theirs", "that this package did not make")):
        result = CliRunner().invoke(vacuum, [f"delta+file://{tmp_path}/{place}"])
        assert result.exit_code == 1 and sentence in result.output
    result = CliRunner().invoke(vacuum, [f"delta+file://{tmp_path}/theirs", "--keep", "1"])
    assert result.exit_code == 2 and "a Delta table has --older-than only" in result.output
