"""SOQL: text to syntax tree to a plan that DuckDB runs."""

from __future__ import annotations

from salesforce_localorg.soql.compiler import compile_query
from salesforce_localorg.soql.errors import SoqlError
from salesforce_localorg.soql.parser import parse
from salesforce_localorg.soql.plan import Plan

__all__ = ["Plan", "SoqlError", "compile_query", "parse"]
