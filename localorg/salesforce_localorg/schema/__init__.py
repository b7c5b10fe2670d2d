"""What the org knows about its objects: fields, types, flags, and who may see them."""

from __future__ import annotations

from salesforce_localorg.schema.catalog import Schema
from salesforce_localorg.schema.field import Field
from salesforce_localorg.schema.sobject import ChildRelationship, SObject
from salesforce_localorg.schema.viewer import Viewer

__all__ = ["ChildRelationship", "Field", "SObject", "Schema", "Viewer"]
