"""The current table of a destination, as one DuckDB query over its Parquet files and manifests.

Of each Id the row with the newest cursor counts, of equal ones that which was read last; what was read before the newest
full extract does not count at all. A row in the recycle bin is no row, and neither is one whose deletion in a
`deleted-…` file is later than the row, unless a reconciliation found the record in the org after that. docs/incremental.md
has the same in SQL to copy, and for Spark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_sfcc.errors import StateError
from airflow_sfcc.extract.incremental.state import require_one_source
from airflow_sfcc.extract.manifests import Manifest, read_manifests
from airflow_sfcc.extract.storage import StoragePath, is_local, storage_path

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MANIFESTS = """\
WITH manifests AS (
    SELECT extract_id, read_at, watermark, mode, files, deleted_files
    FROM read_json({root}/extract=*/_manifest*.json', hive_partitioning = false, filename = '_manifest', columns = {{
        extract_id: 'VARCHAR', read_at: 'TIMESTAMPTZ', mode: 'VARCHAR', watermark: 'VARCHAR', version: 'BIGINT',
        files: 'STRUCT(path VARCHAR)[]', deleted_files: 'STRUCT(path VARCHAR)[]'}})
    WHERE parse_filename(parse_dirpath(_manifest)) = 'extract=' || extract_id
    QUALIFY row_number() OVER (PARTITION BY extract_id ORDER BY coalesce(version, 1) DESC, _manifest) = 1
)"""

_QUERY = """,
counting AS (
    SELECT * FROM manifests
    WHERE watermark IS NOT NULL
      AND read_at >= coalesce((SELECT max(read_at) FROM manifests WHERE mode = 'full' AND watermark IS NOT NULL), '-infinity')
),
listed AS (SELECT extract_id, read_at, unnest(files).path AS path FROM counting),
newest AS (
    SELECT parts.* EXCLUDE (_part)
    FROM read_parquet(
        {root}/extract=*/part-*.parquet', union_by_name = true, hive_partitioning = false, filename = '_part') AS parts
    JOIN listed ON 'extract=' || listed.extract_id = parse_filename(parse_dirpath(parts._part))
        AND listed.path = parse_filename(parts._part)
    QUALIFY row_number() OVER (PARTITION BY parts."Id" ORDER BY parts.{cursor} DESC, listed.read_at DESC) = 1
){gone}
SELECT {columns}
FROM newest{conditions}"""

_NEWEST_QUERY = """,
newest AS (
    SELECT extract_id, unnest(files).path AS path
    FROM (FROM manifests ORDER BY read_at DESC NULLS LAST, extract_id DESC LIMIT 1)
)
SELECT {columns}
FROM read_parquet(
    {root}/extract=*/part-*.parquet', union_by_name = true, hive_partitioning = false, filename = '_part') AS parts
JOIN newest ON 'extract=' || newest.extract_id = parse_filename(parse_dirpath(parts._part))
    AND newest.path = parse_filename(parts._part)"""

_GONE = """,
listed_deleted AS (SELECT extract_id, unnest(deleted_files).path AS path FROM counting),
gone AS (
    SELECT deleted."Id", max(deleted."DeletedDate") AS "DeletedDate"
    FROM read_parquet(
        {root}/extract=*/deleted-*.parquet', hive_partitioning = false, filename = '_part') AS deleted
    JOIN listed_deleted AS listed ON 'extract=' || listed.extract_id = parse_filename(parse_dirpath(deleted._part))
        AND listed.path = parse_filename(deleted._part)
{unless_healed}    GROUP BY deleted."Id"
)"""

_HEALED = """,
healed AS (
    SELECT parts."Id", max(listed.read_at) AS read_at
    FROM read_parquet(
        [{files}], union_by_name = true, hive_partitioning = false, filename = '_part') AS parts
    JOIN listed ON 'extract=' || listed.extract_id = parse_filename(parse_dirpath(parts._part))
        AND listed.path = parse_filename(parts._part)
    GROUP BY parts."Id"
)"""

_UNLESS_HEALED = """\
    WHERE NOT EXISTS (FROM healed WHERE healed."Id" = deleted."Id" AND healed.read_at >= deleted."DeletedDate")
"""

_NOT_GONE = """NOT EXISTS (FROM gone WHERE gone."Id" = newest."Id" AND gone."DeletedDate" > newest.{cursor})"""


def current_table_sql(destination: StoragePath | str) -> str:
    """The DuckDB query whose result is the current table: the columns of the newest extract, one row per live record.

    Needs Parquet extracts with Id and a cursor field, as mode="incremental" lands them. Raises StateError when the
    destination holds none, or extracts of several objects or orgs.
    """
    root = storage_path(destination)
    manifests = read_manifests(root)
    require_one_source(root, manifests)
    newest = next((each for each in reversed(manifests) if each.get("cursor_field")), None)
    if newest is None:
        what = (
            "no extract that a current table can be made of: those have Id and a cursor field"
            if manifests
            else "no extracts"
        )
        raise StateError(
            f"{root} holds {what}. Name the folder of one object, and land an extract there first, full or incremental."
        )
    _require_parquet(manifests)
    quoted_root = _quoted_root(root)
    cursor = _quoted(newest["cursor_field"])
    conditions = []
    if any(column["name"] == "IsDeleted" for manifest in manifests for column in manifest["schema"]):
        conditions.append('newest."IsDeleted" IS NOT TRUE')
    has_gone = any(manifest.get("deleted_files") for manifest in manifests)
    healed = _healed(root, manifests)
    if has_gone:
        conditions.append(_NOT_GONE.format(cursor=cursor))
    return (_MANIFESTS + _QUERY).format(
        root=quoted_root,
        cursor=cursor,
        gone=(healed + _GONE.format(root=quoted_root, unless_healed=_UNLESS_HEALED if healed else ""))
        if has_gone
        else "",
        columns=", ".join(f"newest.{_quoted(column['name'])}" for column in newest["schema"]),
        conditions="\nWHERE " + "\n  AND ".join(conditions) if conditions else "",
    )


def newest_extract_sql(destination: StoragePath | str) -> str:
    """The DuckDB query for the rows of the newest extract, whichever that is when the query runs.

    For full extracts that no current table can be made of: those without Id or a cursor. Raises StateError when the
    destination holds none, or several objects or orgs, or other files than Parquet.
    """
    root = storage_path(destination)
    manifests = read_manifests(root)
    require_one_source(root, manifests)
    if not manifests:
        raise StateError(f"{root} holds no extracts: name the folder of one object, as the DAG's destination does.")
    _require_parquet(manifests)
    columns = ", ".join(f"parts.{_quoted(column['name'])}" for column in manifests[-1]["schema"])
    return (_MANIFESTS + _NEWEST_QUERY).format(root=_quoted_root(root), columns=columns)


def read_at_sql(destination: StoragePath | str) -> str:
    """The DuckDB query for when the newest extract was read from the org: how fresh the destination is."""
    return (
        _MANIFESTS.format(root=_quoted_root(storage_path(destination)))
        + "\nSELECT max(read_at) AS read_at FROM manifests"
    )


def _healed(root: StoragePath, manifests: list[Manifest]) -> str:
    """The records that reconciliations read; empty where there are none."""
    files = [
        _text(f"{duckdb_url(root)}/extract={manifest['extract_id']}/{file['path']}")
        for manifest in manifests
        if manifest.get("kind") == "heal"
        for file in manifest["files"]
    ]
    return _HEALED.format(files=", ".join(files)) if files else ""


def register_storage(connection: DuckDBPyConnection, destination: StoragePath | str) -> None:
    """Have a DuckDB connection read `destination` by the path's own fsspec filesystem, with that one's credentials.

    Disks need none. What was registered for the same protocol before is replaced, so that destinations with credentials
    of their own can be read one after another. See https://duckdb.org/docs/stable/guides/python/filesystems.
    """
    root = storage_path(destination)
    if is_local(root):
        return
    names = {root.fs.protocol} if isinstance(root.fs.protocol, str) else set(root.fs.protocol)
    for name in names & set(connection.list_filesystems()):
        connection.unregister_filesystem(name)
    connection.register_filesystem(root.fs)


def duckdb_url(root: StoragePath) -> str:
    """How DuckDB names the folder: a path on a disk, a URL elsewhere."""
    if is_local(root):
        return root.path.rstrip("/")
    return f"{root.protocol}://{root.path.rstrip('/')}"


def _quoted_root(root: StoragePath) -> str:
    """The folder as the beginning of a text in SQL, which is still open."""
    return "'" + duckdb_url(root).replace("'", "''")


def _text(value: str) -> str:
    """A text in SQL, whatever is in it."""
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: object) -> str:
    """An identifier in SQL, whatever is in it."""
    return '"' + str(name).replace('"', '""') + '"'


def _require_parquet(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        for file in manifest["files"]:
            if not file["path"].endswith(".parquet"):
                raise StateError(
                    f"{manifest['path']}/{file['path']} is no Parquet file, and the current table is made of those: give each "
                    "file_format its own destination."
                )
