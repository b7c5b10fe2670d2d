"""What the org knows about its objects: fields, types, flags, and who may see them."""

from __future__ import annotations

from airflow_sfcc.localorg.schema.catalog import Schema
from airflow_sfcc.localorg.schema.field import Field
from airflow_sfcc.localorg.schema.sobject import ChildRelationship, SObject
from airflow_sfcc.localorg.schema.viewer import Viewer

__all__ = ["ChildRelationship", "Field", "SObject", "Schema", "Viewer"]
