"""What OpenLineage's specification (2-0-2) asks of a run event and of the facets that extracts have; see `check_event`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema

SPEC = "https://openlineage.io/spec"


def check_event(event: Mapping[str, Any]) -> None:
    """Raise jsonschema.ValidationError unless this is a run event as the specification has it.

    Sources: OpenLineage.json 2-0-2, and of the facets SchemaDatasetFacet 1-2-0 (or 1-1, of which the same is sent),
    DatasourceDatasetFacet 1-0-1, ColumnLineageDatasetFacet 1-2-0, OutputStatisticsOutputDatasetFacet 1-0-2. Stricter in one
    point: names of jobs and datasets are not empty.
    """
    jsonschema.validate(event, RUN_EVENT, jsonschema.Draft202012Validator, format_checker=jsonschema.FormatChecker())


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


TEXT = {"type": "string"}
NAME = {"type": "string", "minLength": 1}
WHOLE_NUMBER = {"type": "integer", "minimum": 0}
LINK = {"type": "string", "format": "uri", "pattern": "^[a-z][a-z0-9+.-]*:"}
"""jsonschema checks the format only where a package for it is installed; the pattern holds without."""


def _facet(schema: str | None = None, required: str = "", **properties: Any) -> dict[str, Any]:
    """A facet: who made it, which schema it follows, and its own properties."""
    where = {**LINK, "pattern": f"^{SPEC}/facets/{schema}[.]json"} if schema else LINK
    return _object(f"_producer _schemaURL {required}", _producer=LINK, _schemaURL=where, **properties)


def _facets(**known: Any) -> dict[str, Any]:
    return {"type": "object", "properties": known, "additionalProperties": _facet()}


FIELD = _object("name", name=NAME, type=TEXT, description=TEXT, ordinal_position={"type": "integer"})
TRANSFORMATION = _object("type", type=TEXT, subtype=TEXT, description=TEXT, masking={"type": "boolean"})
INPUT_FIELD = _object(
    "namespace name field",
    namespace=NAME,
    name=NAME,
    field=NAME,
    transformations={"type": "array", "items": TRANSFORMATION},
)
COLUMN = _object(
    "inputFields",
    inputFields={"type": "array", "items": INPUT_FIELD},
    transformationType=TEXT,
    transformationDescription=TEXT,
)

SCHEMA = _facet("1-[12]-[0-9]+/SchemaDatasetFacet", fields={"type": "array", "items": FIELD})
DATA_SOURCE = _facet("1-0-[0-9]+/DatasourceDatasetFacet", name=TEXT, uri=LINK)
COLUMN_LINEAGE = _facet(
    "1-2-[0-9]+/ColumnLineageDatasetFacet",
    "fields",
    fields={"type": "object", "additionalProperties": COLUMN},
    dataset={"type": "array", "items": INPUT_FIELD},
)
OUTPUT_STATISTICS = _facet(
    "1-0-[0-9]+/OutputStatisticsOutputDatasetFacet",
    rowCount=WHOLE_NUMBER,
    size=WHOLE_NUMBER,
    fileCount=WHOLE_NUMBER,
)

DATASET = _object(
    "namespace name",
    namespace=NAME,
    name=NAME,
    facets=_facets(schema=SCHEMA, dataSource=DATA_SOURCE, columnLineage=COLUMN_LINEAGE),
    inputFacets=_facets(),
    outputFacets=_facets(outputStatistics=OUTPUT_STATISTICS),
)

RUN_EVENT = _object(
    "eventTime producer schemaURL run job",
    eventTime={"type": "string", "format": "date-time"},
    producer=LINK,
    schemaURL={**LINK, "pattern": f"^{SPEC}/2-[0-9]+-[0-9]+/OpenLineage[.]json#/[$]defs/RunEvent$"},
    eventType={"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
    run=_object("runId", runId={"type": "string", "format": "uuid"}, facets=_facets()),
    job=_object("namespace name", namespace=NAME, name=NAME, facets=_facets()),
    inputs={"type": "array", "items": DATASET},
    outputs={"type": "array", "items": DATASET},
)
