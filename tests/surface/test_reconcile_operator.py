"""SalesforceReconcileOperator, as DAGs use it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sfcc.errors import OptionError
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceReconcileOperator
from tests.conftest import RunningOrg
from tests.reconcile.broken import rewritten

KEYS = (
    "sobject compared table until rows is_right wrong ids in_flight outside unresolved healed not_seen api_calls seconds"
).split()


def reconcile(context: Any, **options: Any) -> dict[str, Any]:
    return SalesforceReconcileOperator(task_id="reconcile", **options).execute(context)


def test_after_an_extract(connected_org: RunningOrg, context: Any, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake/{{sobject}}"
    extract = SalesforceExtractOperator(
        task_id="extract", sobject="Case", destination=url, mode="incremental", lag=timedelta(0), deletes="hard"
    )
    landed = extract.execute(context)
    result = reconcile(context, extracts=landed, lag=0)
    assert list(result) == KEYS and json.loads(json.dumps(result)) == result
    assert result["is_right"] and result["rows"] == connected_org.org.records.count("Case")
    (part,) = (tmp_path / "lake" / "Case").glob("extract=*/part-*.parquet")
    assert rewritten(part, lambda table: table.slice(1))
    with pytest.raises(AirflowFailException, match=r"1 record of Case is not as the org has it: 1 lost\. .*heal=True"):
        reconcile(context, extracts=url, sobject="Case", lag=0)
    assert reconcile(context, extracts=landed, lag=0, on_difference="report")["wrong"]["lost"] == 1
    healed = reconcile(context, extracts=landed, lag=0, heal=True)
    assert len(healed["healed"]) == 1 and Path(str(healed["healed"][0]).removeprefix("file://")).exists()
    assert reconcile(context, extracts=landed, lag=0)["is_right"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"on_difference": "warn"}, "on_difference must be one of fail, report"),
        ({"max_calls": 0}, "max_calls must be a whole number"),
        ({"lag": "soon"}, "no duration"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        SalesforceReconcileOperator(task_id="reconcile", extracts="file:///lake", **options)
