"""`make reconcile-test`: one wrong record of each kind among a million, found and healed with at most 30 calls each."""

from __future__ import annotations

import argparse
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from airflow_sfcc.load.duckdb_table import DuckDBTable
from airflow_sfcc.load.loading import load
from tests.reconcile.broken import (
    Place,
    empty_place,
    forget_deletion,
    lose,
    make_stale,
    make_up_deletion,
    wrong,
)

MOST_CALLS = 30


def main() -> None:
    """Parse the command line, and break one record after the other."""
    parser = argparse.ArgumentParser(prog="make reconcile-test", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sfcc-reconcile-") as folder,
        empty_place(Path(folder), options.rows) as place,
    ):
        place.extract(api="bulk")
        place.records.hard_delete(place.sobject, place.ids[0])  # an extract without deletions has no file to add one to
        place.extract()
        _prove(place, Path(folder))
    print(f"==> each wrong record among {options.rows:,} was found and healed with at most {MOST_CALLS} calls")


def _prove(place: Place, folder: Path) -> None:
    _tell("right", place.compare())
    ids = place.ids
    middle = len(ids) // 2
    lose(place, ids[middle])
    _found_and_healed(place, "lost", ids[middle])
    make_stale(place, ids[middle + 1], timedelta(days=45))
    _found_and_healed(place, "stale", ids[middle + 1])
    make_up_deletion(place, ids[middle + 2], place.now - timedelta(hours=1))
    _found_and_healed(place, "wrongly_deleted", ids[middle + 2])
    place.records.hard_delete(place.sobject, ids[middle + 3])
    place.extract()
    forget_deletion(place, ids[middle + 3])
    _found_and_healed(place, "not_deleted", ids[middle + 3])
    table = DuckDBTable(folder / "crm.duckdb", "records")
    load(place.lake_path, table)
    with duckdb.connect(str(folder / "crm.duckdb")) as database:
        database.execute(f"DELETE FROM records WHERE Id = '{ids[0]}'")
        database.execute(f"INSERT INTO records SELECT * FROM records WHERE Id = '{ids[middle + 4]}'")
    found = place.compare(heal=True, target=table)
    assert wrong(found) == {"lost": [ids[0]], "doubled": [ids[middle + 4]]}, found
    _tell("doubled and lost in a table", found)
    load(place.lake_path, table)
    assert place.compare(target=table)["is_right"] and place.compare()["is_right"]


def _found_and_healed(place: Place, kind: str, record_id: str) -> None:
    found = place.compare(heal=True)
    assert wrong(found) == {kind: [record_id]}, found
    _tell(kind, found)
    assert place.compare()["is_right"]


def _tell(what: str, result: dict[str, Any]) -> None:
    assert result["api_calls"] <= MOST_CALLS and not result["unresolved"], result
    print(f"{what}: {result['api_calls']} calls, {result['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
