"""OpenLineage: which object an extract read, which folder it wrote, with columns and counts.

Used only where apache-airflow-providers-openlineage is installed, which asks operators for `get_openlineage_facets_*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_sfcc.assets import destination_uri, salesforce_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_sfcc.extract.model import Plan


def extract_lineage(plan: Plan, destination: str, result: Mapping[str, Any] | None) -> OperatorLineage[Any, Any]:
    """The lineage of an extract; with `result` None it has not landed, and counts are left out.

    The SOQL is not part of it: its literals may be personal data.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    source, target = dataset_names(plan, destination)
    schema = _schema(plan)
    counts: dict[str, Any] = {}
    if result is not None:
        counts["outputStatistics"] = statistics.OutputStatisticsOutputDatasetFacet(
            rowCount=result["rows"], size=result["bytes"], fileCount=len(result["files"])
        )
    written = {"schema": schema, "dataSource": _data_source(target[0]), "columnLineage": _columns(plan, source)}
    return OperatorLineage(
        inputs=[InputDataset(*source, facets={"schema": schema, "dataSource": _data_source(source[0])})],
        outputs=[OutputDataset(*target, facets=written, outputFacets=counts)],
    )


def dataset_names(plan: Plan, destination: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """(namespace, name) of what is read and of what is written.

    Files are named by OpenLineage's rules ("Naming", Datasets); Salesforce has none there, and is
    `salesforce://<my-domain>` with the object's name.
    """
    origin = urlsplit(salesforce_uri(plan.instance, plan.sobject))
    place = urlsplit(destination_uri(destination))
    namespace = "file" if place.scheme == "file" else f"{place.scheme}://{place.netloc}"
    name = place.path.rstrip("/") or "/"
    return (f"{origin.scheme}://{origin.netloc}", plan.sobject), (
        namespace,
        name if namespace == "file" else name.lstrip("/") or "/",
    )


def _schema(plan: Plan) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(name=column.name, type=column.salesforce_type)
            for column in plan.columns
        ]
    )


def _data_source(namespace: str) -> Any:
    from openlineage.client.facet_v2 import datasource_dataset

    uri = namespace if "://" in namespace else f"{namespace}:///"  # "file" alone names files, and is no URI
    return datasource_dataset.DatasourceDatasetFacet(name=namespace, uri=uri)


def _columns(plan: Plan, source: tuple[str, str]) -> Any:
    """Which field each column was copied from; the results of functions were copied from none."""
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    from airflow_sfcc.salesforce import soql

    selected = {item.text.lower() for item in soql.scan(plan.soql).items if item.kind == "field"}
    return lineage.ColumnLineageDatasetFacet(
        fields={
            column.name: lineage.Fields(
                inputFields=[lineage.InputField(namespace=source[0], name=source[1], field=column.name)],
                transformationType="MASKED" if column.hashed else "IDENTITY",
                transformationDescription="hashed" if column.hashed else "copied",
            )
            for column in plan.columns
            if column.name.lower() in selected
        }
    )


def load_lineage(destination: str, table: str, result: Mapping[str, Any]) -> OperatorLineage[Any, Any]:
    """The lineage of a load: from the destination's files to the table; both are URLs without credentials."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    source, target = _place(destination), _place(table)
    counts = statistics.OutputStatisticsOutputDatasetFacet(rowCount=result["inserted"] + result["updated"])
    return OperatorLineage(
        inputs=[InputDataset(*source, facets={"dataSource": _data_source(source[0])})],
        outputs=[
            OutputDataset(
                *target, facets={"dataSource": _data_source(target[0])}, outputFacets={"outputStatistics": counts}
            )
        ],
    )


def _place(url: str) -> tuple[str, str]:
    """Namespace and name by OpenLineage's rules: files and DuckDB's are `file`, others by their host."""
    parts = urlsplit(url)
    name = parts.path.rstrip("/") or "/"
    if parts.scheme in ("file", "duckdb"):
        return "file", name
    if parts.scheme.startswith("postgres"):
        return f"{parts.scheme}://{parts.netloc}", name.strip("/").replace("/", ".")
    return f"{parts.scheme}://{parts.netloc}", name.lstrip("/") or "/"
