"""The extract engine: plan -> fetch -> convert -> land. Knows data; imports no Airflow.

It writes to any universal-pathlib path.
"""

from __future__ import annotations
