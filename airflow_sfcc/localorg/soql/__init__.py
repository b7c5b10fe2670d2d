"""SOQL: text to syntax tree to a plan that DuckDB runs."""

from __future__ import annotations

from airflow_sfcc.localorg.soql.compiler import compile_query
from airflow_sfcc.localorg.soql.errors import SoqlError
from airflow_sfcc.localorg.soql.parser import parse
from airflow_sfcc.localorg.soql.plan import Plan

__all__ = ["Plan", "SoqlError", "compile_query", "parse"]
