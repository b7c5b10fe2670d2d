"""Metrics by Airflow's own statistics: StatsD, Datadog or OpenTelemetry, as the deployment has it (docs/monitoring.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_sfcc._airflow.event_facts import Extracted, Warned

if TYPE_CHECKING:
    from airflow_sfcc.salesforce.usage import ApiUsage


def count_extract(extracted: Extracted, result: Mapping[str, Any], usage: ApiUsage, warnings: Sequence[Warned]) -> None:
    """The metrics of an extract that landed; a failure of the statistics is none of the extract's."""
    org = urlsplit(extracted.instance).netloc or extracted.instance
    tags = {"org": org, "sobject": extracted.sobject, "api": str(result["api"])}
    with suppress(Exception):
        stats = _stats()
        stats.gauge("sfcc.rows", result["rows"], tags=tags)
        stats.gauge("sfcc.bytes", result["bytes"], tags=tags)
        stats.timing("sfcc.extract", result["seconds"] * 1000, tags=tags)
        stats.incr("sfcc.api_calls", result["api_calls"], tags=tags)
        if usage.used is not None and usage.limit is not None:
            stats.gauge("sfcc.api_used", usage.used, tags={"org": org})
            stats.gauge("sfcc.api_limit", usage.limit, tags={"org": org})
        for each in warnings:
            stats.incr("sfcc.warning", tags={"org": org, "sobject": extracted.sobject, "kind": each.kind})


def count_failure(error: str, facts: Mapping[str, Any]) -> None:
    """One failed attempt, by the kind of its error."""
    with suppress(Exception):
        _stats().incr("sfcc.failure", tags={"sobject": str(facts.get("sobject") or "unknown"), "error": error})


def _stats() -> Any:
    from airflow.providers.common.compat.sdk import Stats

    return Stats
