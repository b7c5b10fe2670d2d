"""SOQL: text -> syntax tree -> DuckDB SQL."""

from __future__ import annotations

from airflow_sfcc.localorg.soql.ast import Query
from airflow_sfcc.localorg.soql.errors import SoqlError
from airflow_sfcc.localorg.soql.parser import parse

__all__ = ["Query", "SoqlError", "parse"]
