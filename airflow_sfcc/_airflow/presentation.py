"""What Airflow shows of an extract beside its result: documentation, links, assets with their events, lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_sfcc._airflow.event_facts import Extracted, Warned, facts_of_extract
from airflow_sfcc._airflow.metrics import count_extract
from airflow_sfcc._airflow.warning_signs import WARNINGS_KEY, Thresholds, earlier_events, now, warnings_of
from airflow_sfcc.assets import (
    announce,
    default_inlets,
    default_outlets,
    destination_uri,
    is_default_inlet,
    salesforce_uri,
)
from airflow_sfcc.links import BulkJobLink, ListViewLink, salesforce_pages

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, MutableMapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from airflow_sfcc.extract.extraction import Extraction
    from airflow_sfcc.salesforce.usage import ApiUsage

_DOCUMENTATION = ("doc", "doc_md", "doc_rst", "doc_json", "doc_yaml")


def added_to_defaults(settings: MutableMapping[str, Any], options: Mapping[str, Any]) -> None:
    """Give a task the inlets, outlets and documentation that its author did not give it; those of `default_args` stay."""
    inherited: Mapping[str, Any] = settings.get("default_args") or {}
    for name, ours in defaults_of(settings, options).items():
        settings[name] = joined(inherited.get(name), ours)


def defaults_of(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What an extract shows in the UI, but for what the task's own `settings` say."""
    destination, sobject = options.get("destination"), options.get("sobject")
    ours = {
        "inlets": default_inlets(options.get("salesforce_conn_id"), [sobject] if sobject else []),
        "outlets": default_outlets(destination, settings.get("task_id")),
        "doc_md": documentation(destination, sobject, options.get("soql")),
    }
    given = {"doc_md" if name in _DOCUMENTATION else name for name in settings}
    return {name: value for name, value in ours.items() if name not in given}


def joined(inherited: Any, ours: Any) -> Any:
    """What a task inherits, and what is added to it: lists are joined, texts are paragraphs."""
    if not inherited:
        return ours
    if isinstance(ours, str):
        return f"{inherited}\n\n{ours}"
    return [*(inherited if isinstance(inherited, (list, tuple)) else [inherited]), *ours]


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
        "watermark and manifest. The page Salesforce in the navigation shows whether all objects are complete and fresh.\n"
    )


class ExtractPresentation:
    """Mixed into the operator; reads what its extraction has planned and landed."""

    operator_extra_links: Collection[BaseOperatorLink] = (BulkJobLink(), ListViewLink())

    destination: str
    salesforce_conn_id: str
    inlets: list[Any]
    outlets: list[Any]
    log: Any
    salesforce_warnings: Sequence[str] = ()
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
        self._landed = result
        if self._extraction is not None:
            extracted, usage = Extracted.of_plan(self._extraction.plan), self._extraction.client.usage
            self._add_inlet(salesforce_uri(extracted.instance, extracted.sobject))
            warnings = self.announce_extract(context, extracted, result, usage)
            count_extract(extracted, result, usage, warnings)
        return result

    def announce_extract(
        self, context: Context, extracted: Extracted, result: Mapping[str, Any], usage: ApiUsage
    ) -> list[Warned]:
        """The asset's event, and what a person should be told."""
        uri = destination_uri(self._destination_of(extracted.sobject))
        warnings = self._warnings(context, extracted, result, usage, uri)
        facts = facts_of_extract(extracted, result, usage, self.salesforce_conn_id, warnings)
        self.send(context, uri, facts)
        return warnings

    def send(self, context: Context, uri: str, facts: Mapping[str, Any]) -> None:
        """Tell Airflow what the asset `uri` holds now."""
        announce(context, self.outlets, uri, facts)

    def _add_inlet(self, uri: str) -> None:
        from airflow.sdk import Asset

        known = [each for each in self.inlets if not is_default_inlet(each)]
        self.inlets = known if known else [Asset(uri=uri)]

    def _warnings(
        self, context: Context, extracted: Extracted, result: Mapping[str, Any], usage: ApiUsage, uri: str
    ) -> list[Warned]:
        """What a person should be told, in the log and as an XCom."""
        if context.get("outlet_events") is None:
            return []
        earlier = earlier_events(self.outlets, uri)
        found = warnings_of(extracted, result, usage, earlier, self._thresholds(), now())
        self._tell(context, found)
        return found

    def _thresholds(self) -> Thresholds:
        """When something is worth telling."""
        return Thresholds.configured()

    def _tell(self, context: Context, found: Sequence[Warned], before: Sequence[str] = ()) -> None:
        for each in found:
            self.log.warning("%s", each.sentence)
        self.salesforce_warnings = [*before, *(each.sentence for each in found)]
        if found:
            context["ti"].xcom_push(WARNINGS_KEY, self.salesforce_warnings)

    def failure_facts(self) -> dict[str, Any]:
        """What is known of an extract that failed: which object of which org, and its Bulk job."""
        known = {"sobject": getattr(self, "sobject", None), "conn_id": self.salesforce_conn_id}
        if self._extraction is None:
            return known
        plan = self._extraction.plan
        return {**known, "sobject": plan.sobject, "instance": plan.instance, "job_id": plan.job_id}

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
