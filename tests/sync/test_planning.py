"""What a run of a sync plans for an object whose destination is there already."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from airflow_sfcc.sync.model import SyncPlan
from airflow_sfcc.sync.planning import SyncRequest, plan_sync
from tests.conftest import RunningOrg
from tests.extract.runs import extract, run_identity


def planned(org: RunningOrg, folder: Path, where: str | None) -> SyncPlan:
    request = SyncRequest(objects=["Account"], where={"account": where} if where else {})
    return plan_sync(org.client(), request, run_identity("later"), lambda name: UPath(folder) / name, None)


@pytest.mark.parametrize(
    ("where", "is_unchanged"),
    [
        ("Name != null", True),
        ("  Name != null ", True),
        ("Name = 'another'", False),
        ("Name = ", False),
        (None, False),
    ],
)
def test_an_object_of_another_condition_is_not_unchanged(
    org: RunningOrg, tmp_path: Path, where: str | None, is_unchanged: bool
) -> None:
    """Its extract tells that the destination holds rows of another condition, however many of the new one changed."""
    extract(org, tmp_path / "Account", sobject="Account", mode="incremental", where="Name != null")
    plan = planned(org, tmp_path, where)
    assert [outcome.result for outcome in plan.settled] == (["unchanged"] if is_unchanged else [])
    assert [wanted.name for batch in plan.batches for wanted in batch.objects] == ([] if is_unchanged else ["Account"])
