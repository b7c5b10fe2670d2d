"""The task `plan` of a task group: an extract's task that ends with the shares of the result pages instead of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import structs

from airflow_sfcc._airflow.extract_task import ExtractTask
from airflow_sfcc._airflow.options import ExtractOptions
from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.extraction import Extraction
from airflow_sfcc.extract.model import Request
from airflow_sfcc.timestamps import timestamp

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanTask(ExtractTask):
    """Waits for all Bulk jobs of the extract, one after the other, and deals their pages to `shares` download tasks."""

    def __init__(
        self, options: ExtractOptions, context: Context, *, shares: int, slice_at: Sequence[datetime | str]
    ) -> None:
        super().__init__(options, context)
        self._shares = shares
        self._slice_at = slice_at

    def request(self) -> Request:
        if isinstance(self._slice_at, (str, datetime)):
            raise QueryError(
                f"slice_at is a list of timestamps, and got {self._slice_at!r}: write slice_at=[...], or leave it out."
            )
        return structs.replace(super().request(), slice_at=[timestamp(each, "slice_at") for each in self._slice_at])

    def land(self, extraction: Extraction) -> Any:
        """The shares; raises TaskDeferred while the job of another slice is still waiting."""
        if extraction.job().is_waiting:
            self.defer(extraction)
        pages = [page.to_json() for page in extraction.pages()]
        extraction.stage_plan()
        extraction.leave()
        plan = extraction.plan
        known = {"extract_id": plan.extract_id, "job_id": plan.job_id, "sobject": plan.sobject}
        dealt = [pages[first :: self._shares] for first in range(self._shares)]
        # An empty result may have no page at all, and still has to be committed: with no share there would be no download, and
        # a commit that Airflow skips.
        return [{**known, "pages": share} for share in dealt if share or share is dealt[0]]
