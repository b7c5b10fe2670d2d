"""The load engine: committed extracts become merged, exact tables. Knows files and tables; imports no Airflow.

loading.py   the flow: which extracts are new, which changes they bring, one commit for each step
model.py     an extract and a table as loading sees them
steps.py     which extracts are loaded together, and how much of the history they need
scratch.py   a DuckDB of the load's own, with a memory limit and a folder to spill into
events.py    what extracts say of each Id: SQL over their files
changes.py   what becomes of each Id: rows to write, Ids to remove
in_order.py  rows in the order of their Ids, within the memory limit
targets.py   what a table has to be able to do; duckdb_table.py, postgres_table.py and delta/ can
change_files.py  changes as files, for warehouses that merge them themselves
"""

from __future__ import annotations
