"""Extracts loaded in any order, in any groups, give the same table: the one that their files say."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_sfcc.load.loading import LoadOptions, load
from airflow_sfcc.load.model import MODES, Mode
from tests.load.made import COLUMNS, Made, at, expected_current, expected_history, expected_soft, id_of, row
from tests.load.tables import KINDS, Loaded, place

BIN = {**COLUMNS, "IsDeleted": "boolean"}
IDS = st.integers(1, 5)
BINNED = st.integers(0, 4).map(lambda number: number == 0)


@st.composite
def extracts(draw: st.DrawFn) -> list[Made]:
    """Extracts read one after another, whose windows may overlap; rows are no younger than their reading."""
    made = []
    for index in range(draw(st.integers(1, 5))):
        read = (index + 1) * 10
        stamps = st.integers(max(0, read - 25), read - 1)
        rows = {
            number: row(number, stamp, f"{number} at {stamp} read {read}", IsDeleted=binned)
            for number, stamp, binned in draw(
                st.lists(st.tuples(IDS, stamps, st.integers(0, 4).map(lambda n: n == 0)), max_size=4)
            )
        }
        deleted = draw(st.dictionaries(IDS.map(id_of), stamps, max_size=2))
        made.append(
            Made(
                f"e{index}",
                read,
                [rows[number] for number in sorted(rows)],
                deleted,
                full=draw(st.integers(0, 4)) == 0,
                columns=BIN,
                window=(max(0, read - 25), read),
            )
        )
    return made


def as_orgs_do(made: Sequence[Made]) -> list[Made]:
    """The same, but no later reading shows an older version of a record, or one from before its known deletion.

    Tables that keep what is gone rely on that; the table of the present does not.
    """
    newest: dict[str, datetime] = {}
    found = []
    for each in made:
        rows = []
        for there in each.rows:
            stamp = max(there["SystemModstamp"], newest.get(there["Id"], there["SystemModstamp"]))
            rows.append({**there, "SystemModstamp": stamp})
            newest[there["Id"]] = stamp
        for record_id, minute in each.deleted.items():
            newest[record_id] = max(at(minute), newest.get(record_id, at(minute)))
        if each.full:  # what it lacks is gone, and comes back later if at all
            there_now = {there["Id"] for there in rows}
            newest |= {record_id: at(each.read) for record_id in newest if record_id not in there_now}
        found.append(replace(each, rows=rows))
    return found


@st.composite
def courses(draw: st.DrawFn, mode: Mode) -> tuple[list[Made], list[list[Made]]]:
    """Extracts, and the groups in which they are committed before each load."""
    made = draw(extracts())
    if mode != "current":
        made = as_orgs_do(made)
    order = draw(st.permutations(made))
    groups: list[list[Made]] = [[]]
    for each in order:
        if draw(st.booleans()):
            groups.append([])
        groups[-1].append(each)
    return made, [group for group in groups if group]


def check(loaded: Loaded, name: str, mode: Mode, made: Sequence[Made]) -> None:
    if mode == "current":
        wanted = {record_id: found["Name"] for record_id, found in expected_current(made).items()}
        assert {record_id: found["Name"] for record_id, found in loaded.by_id(name).items()} == wanted
    elif mode == "soft":
        soft = {record_id: (found["Name"], when) for record_id, (found, when) in expected_soft(made).items()}
        found = {record_id: (each["Name"], each["_deleted_at"]) for record_id, each in loaded.by_id(name).items()}
        assert found == soft
    else:
        rows = loaded.rows(name)
        versions = {(each["Id"], each["Name"], each["_valid_from"], each["_valid_to"]) for each in rows}
        assert len(versions) == len(rows) and versions == expected_history(made)
        assert all(each["_is_current"] == (each["_valid_to"] is None) for each in rows)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_order_gives_the_same_table(kind: str, mode: Mode, request: pytest.FixtureRequest) -> None:
    @settings(max_examples=int(os.environ.get("ORDERS", "6")), suppress_health_check=list(HealthCheck))
    @given(courses(mode))
    def holds(course: tuple[list[Made], list[list[Made]]]) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="sfcc-any-order-") as folder,
            place(kind, Path(folder), request) as loaded,
        ):
            lake, committed = UPath(folder) / "lake", []
            for group in course[1]:
                for each in group:
                    each.land(lake)
                    committed.append(each)
                result: dict[str, Any] = load(lake, loaded.make("Account"), LoadOptions(mode=mode))
                check(loaded, "Account", mode, committed)
                assert result["rows"] == len(loaded.rows())
            assert load(lake, loaded.make("Account"), LoadOptions(mode=mode))["extracts"] == []

    holds()
