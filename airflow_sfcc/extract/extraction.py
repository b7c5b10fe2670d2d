"""One extract from plan to manifest: the flow to read first.

plan -> start (submit the Bulk job, stage the plan) -> land (fetch, convert, write) -> commit
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow_sfcc.extract.convert import arrow_schema
from airflow_sfcc.extract.fetch_bulk import BulkFetcher
from airflow_sfcc.extract.fetch_rest import RestFetcher
from airflow_sfcc.extract.landing import Landing, Part, StoragePath
from airflow_sfcc.extract.manifest import make_manifest
from airflow_sfcc.extract.parts import EXTENSIONS, part_writer
from airflow_sfcc.extract.plan import ExtractPlan
from airflow_sfcc.salesforce.bulk import BulkJob
from airflow_sfcc.salesforce.client import SalesforceClient
from airflow_sfcc.salesforce.errors import BulkUnsupportedError, SalesforceError

log = logging.getLogger(__name__)


class Extraction:
    """The stages of one extract, bound to a client and a destination.

    `destination` is where the object's extracts live; a failure at any stage leaves there what was there before.
    """

    def __init__(self, client: SalesforceClient, destination: StoragePath, plan: ExtractPlan) -> None:
        self.client = client
        self.plan = plan
        self.landing = Landing(destination, plan.extract_id)

    @classmethod
    def resume(cls, client: SalesforceClient, destination: StoragePath, extract_id: str) -> Extraction:
        """The extraction whose plan another process staged."""
        plan = ExtractPlan.from_json(Landing(destination, extract_id).load_plan())
        return cls(client, destination, plan)

    def start(self, *, fall_back_to_rest: bool) -> None:
        """Prepare the landing, and submit the Bulk job if the plan is to use one.

        With `fall_back_to_rest` a query that Bulk refuses is planned anew for REST instead of failing.
        """
        self.landing.start_afresh()
        if self.plan.api == "bulk":
            try:
                job = self.client.bulk.create(self.plan.soql, include_deleted=self.plan.include_deleted)
            except BulkUnsupportedError as refusal:
                if not fall_back_to_rest:
                    raise
                log.warning("Bulk API 2.0 does not do this query, so REST reads it: %s", refusal.message)
                self.plan = self.plan.by_rest("Bulk API 2.0 refused the query")
            else:
                self.plan = self.plan.submitted(job.id)

    def stage_plan(self) -> None:
        """Leave the plan for the process that goes on from here, with the calls made so far."""
        self.plan = self.plan.with_calls(self.client.usage.calls)
        self.landing.save_plan(self.plan.to_json())

    def job(self) -> BulkJob:
        """The Bulk job as it is now."""
        if self.plan.job_id is None:
            raise SalesforceError("This extract has no Bulk job.")
        return self.client.bulk.get(self.plan.job_id)

    def land(self) -> list[Part]:
        """Fetch, convert and stage all rows. A Bulk job must be complete."""
        if self.plan.api == "bulk":
            parts = BulkFetcher(self.client, self.plan, self.landing).land(self.job())
        else:
            parts = RestFetcher(self.client, self.plan, self.landing).land()
        return parts or [self._empty_part()]

    def _empty_part(self) -> Part:
        """A file with the schema and no rows, so that readers find the columns of an empty result."""
        name = f"part-00000.{EXTENSIONS[self.plan.file_format]}"
        with self.landing.open_part(name) as file:
            part_writer(self.plan.file_format, file, arrow_schema(self.plan.columns)).finish()
        return Part(name, 0, file.bytes, file.sha256)

    def commit(self, parts: list[Part], *, other_calls: int = 0) -> dict[str, Any]:
        """Publish the parts with their manifest; returns what the task returns (see `result`).

        `other_calls` are API calls made for this extract by others, such as a trigger's polls.
        """
        calls = self.plan.api_calls + self.client.usage.calls + other_calls
        manifest = make_manifest(self.plan, parts, api_calls=calls)
        path = self.landing.commit(manifest)
        return self._result(manifest, path)

    def _result(self, manifest: dict[str, Any], path: StoragePath) -> dict[str, Any]:
        folder = str(self.landing.folder)
        return {
            "manifest": str(path),
            "path": folder,
            "files": [f"{folder}/{file['path']}" for file in manifest["files"]],
            **{
                name: manifest[name]
                for name in ("rows", "bytes", "deleted_rows", "api", "job_id", "window", "watermark")
            },
            "api_calls": manifest["api_calls"],
            "seconds": round(_seconds_between(manifest["started_at"], manifest["finished_at"]), 3),
        }

    def discard(self) -> None:
        """Remove what was staged."""
        self.landing.discard()


def _seconds_between(start: str, end: str) -> float:
    first, last = (datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (start, end))
    return (last - first).total_seconds()
