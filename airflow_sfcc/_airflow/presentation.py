"""What Airflow shows of an extract beside its result: documentation, links, assets with their events, lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_sfcc.assets import announce, default_outlets, destination_uri, salesforce_uri
from airflow_sfcc.links import BulkJobLink, ListViewLink, salesforce_pages

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, MutableMapping

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from airflow_sfcc.extract.extraction import Extraction

EVENT_KEYS = ("rows", "bytes", "watermark", "manifest")
"""What an asset event says of the extract behind it (its `extra`)."""

_DOCUMENTATION = ("doc", "doc_md", "doc_rst", "doc_json", "doc_yaml")


def set_defaults(settings: MutableMapping[str, Any], destination: object, sobject: object, soql: object) -> None:
    """Give a task the outlets and the documentation that its author did not give it."""
    settings.setdefault("outlets", default_outlets(destination, settings.get("task_id")))
    if not any(name in settings for name in _DOCUMENTATION):
        settings["doc_md"] = documentation(destination, sobject, soql)


def documentation(destination: object, sobject: object, soql: object) -> str:
    """The task's documentation in the UI."""
    what = f"the object **{sobject}**" if isinstance(sobject, str) else "objects, one for each mapped task,"
    if isinstance(soql, str):
        what = "the result of a SOQL query"
    place = f"`{destination}`" if isinstance(destination, str) else "its destination"
    return (
        f"Extracts {what} from Salesforce to {place}.\n\n"
        "Each run lands in a folder `extract=…` of its own: typed and counted parts, and `_manifest.json`, written last. "
        "Running a task instance again replaces its folder. While Salesforce works on a Bulk job, the task is deferred "
        "(if `deferrable` is on) and holds no worker.\n\n"
        "The task's links lead to the Bulk job and to the object in Salesforce; the asset's event carries rows, bytes, "
        "watermark and manifest.\n"
    )


class ExtractPresentation:
    """Mixed into the operator; reads what its extraction has planned and landed."""

    operator_extra_links: Collection[BaseOperatorLink] = (BulkJobLink(), ListViewLink())

    destination: str
    inlets: list[Any]
    outlets: list[Any]
    _landed: Mapping[str, Any] | None = None

    @property
    def _extraction(self) -> Extraction | None:
        """What was planned; None before that."""
        raise NotImplementedError

    @property
    def salesforce_pages(self) -> dict[str, str]:
        """Salesforce's pages for the links, by the links' names; empty before there is a plan."""
        if self._extraction is None:
            return {}
        plan = self._extraction.plan
        return salesforce_pages(plan.instance, plan.sobject, plan.job_id)

    def announce(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Tell Airflow what was read and what landed where; returns the result as it is."""
        from airflow.sdk import Asset

        self._landed = result
        if self._extraction is not None:
            plan = self._extraction.plan
            self.inlets = self.inlets or [Asset(uri=salesforce_uri(plan.instance, plan.sobject))]
            extra = {name: result[name] for name in EVENT_KEYS}
            announce(context, self.outlets, destination_uri(self._destination_of(plan.sobject)), extra)
        return result

    def _destination_of(self, sobject: str) -> str:
        return self.destination.replace("{sobject}", sobject)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """For the OpenLineage provider, when the task has succeeded."""
        return self._lineage()

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """For the OpenLineage provider, when the task has failed: what it would have read and written."""
        return self._lineage()

    def _lineage(self) -> OperatorLineage[Any, Any] | None:
        from airflow_sfcc._airflow.lineage import extract_lineage

        if self._extraction is None:
            return None
        plan = self._extraction.plan
        return extract_lineage(plan, self._destination_of(plan.sobject), self._landed)
