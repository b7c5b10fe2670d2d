"""The formats that part files come in."""

from __future__ import annotations

from typing import Literal

FileFormat = Literal["parquet", "csv", "jsonl"]
