"""What may lie in one destination, and what readers make of it: the newest extract, `keep`, and mixed ones from before."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from upath import UPath

from airflow_sfcc.errors import OptionError, StateError
from airflow_sfcc.extract import current_table_sql, latest_state, newest_extract
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.land.vacuum import vacuum
from airflow_sfcc.extract.model import Request, RunIdentity
from airflow_sfcc.extract.plan.planner import make_plan
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity
from tests.storages import on_all_storages

SOON = timedelta(0)


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_another_objects_full_extract_is_refused(org: RunningOrg, tmp_path: Path, mode: str) -> None:
    extract(org, tmp_path, sobject="Account", fields=["Id"])
    with pytest.raises(
        StateError, match=r"with the object 'Account', and this one has the object 'Contact'.*\{sobject\}"
    ):
        extract(org, tmp_path, sobject="Contact", fields=["Id"], run_id="next", mode=mode)
    assert [path.name for path in tmp_path.glob("extract=*")] == [f"extract={run_identity().extract_id}"]


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_the_cause_is_named_when_both_were_planned_before_either_was_committed(
    org: RunningOrg, tmp_path: Path, mode: str
) -> None:
    """As mapped tasks do that begin at the same time; it is not for want of max_active_runs."""
    client = org.client()
    extractions = []
    for sobject in ("Account", "Contact"):
        plan = make_plan(
            client, Request(sobject=sobject, fields=["Id"], mode=mode), run_identity(sobject), UPath(tmp_path)  # type: ignore[arg-type]
        )  # fmt: skip
        extractions.append(Extraction(client, UPath(tmp_path), plan))
    for extraction in extractions:
        extraction.start()
    first, second = extractions
    first.commit(first.land())
    with pytest.raises(StateError, match=r"'Account', and this one has the object 'Contact'.*\{sobject\} in it"):
        second.commit(second.land())
    assert len(list(tmp_path.glob("extract=*"))) == 1


def test_another_orgs_full_extract_is_refused(org: RunningOrg, tmp_path: Path, start_org) -> None:  # type: ignore[no-untyped-def]
    extract(org, tmp_path, sobject="Account", fields=["Id"])
    other = start_org(org_id="00D8c0000000001EAA")
    with pytest.raises(StateError, match=r"with the org '00D.*give each its own destination"):
        extract(other, tmp_path, sobject="Account", fields=["Id"], run_id="next")


def test_another_file_format_is_refused(org: RunningOrg, tmp_path: Path) -> None:
    extract(org, tmp_path, sobject="Account", fields=["Id"])
    for mode in ("full", "incremental"):
        with pytest.raises(StateError, match=r"in parquet files, and this one has file_format='csv'"):
            extract(org, tmp_path, sobject="Account", fields=["Id"], file_format="csv", mode=mode, run_id="next")
    extract(org, tmp_path, sobject="Account", fields=["Id"], file_format="csv")  # the same run replaces its own


def mixed(org: RunningOrg, root: Path) -> None:
    """A destination as earlier versions let it become."""
    for sobject in ("Account", "Contact"):
        manifest = extract(org, root / sobject, sobject=sobject, mode="incremental", fields=["Id"], run_id=sobject)
        folder = f"extract={manifest['extract_id']}"
        (root / sobject / folder).rename(root / folder)


def test_readers_and_vacuum_refuse_a_destination_of_several_objects(org: RunningOrg, tmp_path: Path) -> None:
    mixed(org, tmp_path)
    says = r"holds extracts of several objects \(Account, Contact\)"
    for refused in (current_table_sql, newest_extract, vacuum):
        with pytest.raises(StateError, match=says):
            refused(str(tmp_path))
    with pytest.raises(StateError, match=says):
        vacuum(str(tmp_path), superseded=True)
    assert len(list(tmp_path.glob("extract=*"))) == 2


@on_all_storages
def test_the_newest_full_extract_is_one_call_away(org: RunningOrg, root: UPath) -> None:
    for run_id in ("a", "b"):
        extract(org, root, sobject="Account", fields=["Id"], run_id=run_id)
    newest = newest_extract(root)
    assert newest.manifest["run_id"] == "b" and repr(newest).endswith("rows in 1 file>")
    read = [pq.read_table(UPath(file, **root.storage_options).open("rb")) for file in newest.files]
    assert sum(table.num_rows for table in read) == org.org.records.count("Account")


def test_the_newest_full_extract_in_duckdb(org: RunningOrg, tmp_path: Path) -> None:
    """README's line: a glob over all extracts counts a record once for each."""
    for run_id in ("a", "b"):
        extract(org, tmp_path, sobject="Account", fields=["Id"], run_id=run_id)
    for destination in (str(tmp_path), tmp_path.as_uri()):
        files = newest_extract(destination).files
        with duckdb.connect() as connection:
            counted = connection.execute(f"SELECT count(*) FROM read_parquet({files})").fetchone()
        assert counted == (org.org.records.count("Account"),)


def test_the_newest_extract_where_there_is_no_full_one(org: RunningOrg, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="holds no extracts"):
        newest_extract(tmp_path.as_uri())
    extract(org, tmp_path, sobject="Account", fields=["Id"], mode="incremental")
    with pytest.raises(StateError, match="current_table_sql"):
        newest_extract(tmp_path.as_uri())


def test_keep_removes_all_but_the_newest_full_extracts(org: RunningOrg, tmp_path: Path) -> None:
    made = [extract(org, tmp_path, sobject="Account", fields=["Id"], run_id=f"{n}")["run_id"] for n in range(4)]

    def left() -> list[str]:
        found = [json.loads(path.read_text()) for path in tmp_path.glob("extract=*/_manifest.json")]
        return [each["run_id"] for each in sorted(found, key=lambda each: each["read_at"])]

    assert len(vacuum(str(tmp_path), keep=2, dry_run=True)) == 2 and left() == made
    assert vacuum(str(tmp_path), keep=5) == []
    assert len(vacuum(str(tmp_path), keep=2)) == 2 and left() == made[2:]
    for useless in (0, -1, True, 1.5):
        with pytest.raises(OptionError, match="keep must be a whole number greater than 0"):
            vacuum(str(tmp_path), keep=useless)  # type: ignore[arg-type]


def test_keep_leaves_alone_what_the_next_incremental_extract_goes_on_from(org: RunningOrg, tmp_path: Path) -> None:
    for number in range(3):
        extract(org, tmp_path, sobject="Account", fields=["Id"], run_id=f"{number}", mode="incremental")
    assert vacuum(str(tmp_path), keep=1) == []
    extract(org, tmp_path, sobject="Account", fields=["Id", "SystemModstamp"], run_id="full")
    extract(org, tmp_path, sobject="Account", fields=["Id"], run_id="last", mode="incremental")
    assert vacuum(str(tmp_path), keep=2) == []
    before = latest_state(str(tmp_path)).watermark
    assert len(vacuum(str(tmp_path), keep=1)) == 3 and latest_state(str(tmp_path)).watermark == before


def test_the_state_prints_in_one_line(org: RunningOrg, tmp_path: Path) -> None:
    assert repr(latest_state(tmp_path.as_uri())) == "<State: no extracts>"
    manifest = extract(org, tmp_path, sobject="Account", mode="incremental")
    shown = repr(latest_state(tmp_path.as_uri()))
    assert manifest["extract_id"] in shown and manifest["watermark"] in shown and "1 extract," in shown
    assert len(shown) < 150


def mapped(number: int, run_id: str = "scheduled") -> RunIdentity:
    return run_identity(run_id, map_index=number)


@pytest.mark.parametrize("request_", [{"sobject": "Account", "fields": ["Id"]}, {"soql": "SELECT Id FROM Account"}])
def test_mapped_conditions_need_destinations_of_their_own(
    org: RunningOrg, tmp_path: Path, request_: dict[str, Any]
) -> None:
    """Each is taken for all there is, so readers of the newest one would have a part of the object only."""

    def under(condition: str) -> dict[str, Any]:
        soql = request_.get("soql")
        return {**request_, **({"soql": f"{soql} WHERE {condition}"} if soql else {"where": condition})}

    extract(org, tmp_path, run=mapped(0), **under("Name < 'M'"))
    with pytest.raises(StateError, match=r"Another mapped task of this run .*\"Name < 'M'\".*a destination of its own"):
        extract(org, tmp_path, run=mapped(1), **under("Name >= 'M'"))
    # A task that is cleared may have another number, and another run another condition.
    extract(org, tmp_path, run=mapped(2), **under("Name < 'M'"))
    extract(org, tmp_path, run=mapped(1, "next"), **under("Name >= 'M'"))


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_mapped_columns_need_destinations_of_their_own(org: RunningOrg, tmp_path: Path, mode: Any) -> None:
    """As people split an object that is too wide."""
    extract(org, tmp_path, run=mapped(0), sobject="Account", fields=["Name"], mode=mode)
    with pytest.raises(StateError, match=r"Another mapped task .*\(Name, Phone only in one of them\)"):
        extract(org, tmp_path, run=mapped(1), sobject="Account", fields=["Phone"], mode=mode)
    extract(org, tmp_path, run=mapped(1, "next"), sobject="Account", fields=["Phone"], mode=mode)


@pytest.mark.parametrize(
    ("mode", "says"),
    [("full", "Another mapped task of this run"), ("incremental", "give each condition its own destination")],
)
def test_conditions_that_were_planned_at_the_same_time(org: RunningOrg, tmp_path: Path, mode: Any, says: str) -> None:
    client = org.client()
    extractions = []
    for number, where in enumerate(("Name < 'M'", "Name >= 'M'")):
        run = mapped(number, "scheduled" if mode == "full" else f"run {number}")
        request = Request(sobject="Account", fields=["Id"], where=where, mode=mode)
        extractions.append(Extraction(client, UPath(tmp_path), make_plan(client, request, run, UPath(tmp_path))))
    for extraction in extractions:
        extraction.start()
    first, second = extractions
    first.commit(first.land())
    with pytest.raises(StateError, match=says):
        second.commit(second.land())
    assert len(list(tmp_path.glob("extract=*"))) == 1
