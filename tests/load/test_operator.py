"""SalesforceLoadOperator, as DAGs use it: URLs, connections, templates, what it returns and announces."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pytest
from airflow.exceptions import AirflowFailException
from airflow.sdk import Asset, AssetAlias, Connection
from click.testing import CliRunner
from upath import UPath

from airflow_sfcc._airflow import load_task
from airflow_sfcc._airflow.catalog_command import catalog
from airflow_sfcc._airflow.vacuum_command import vacuum
from airflow_sfcc.errors import ConfigurationError, OptionError, StorageError
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceLoadOperator
from tests.conftest import RunningOrg
from tests.load.made import Made, id_of, row
from tests.load.postgres_server import Server
from tests.storages import CREDENTIALS
from tests.surface.conftest import connect, connected_org, context

__all__ = ["connect", "connected_org", "context"]  # fixtures

pytestmark = pytest.mark.timeout(1200)
KEYS = "table version inserted updated deleted skipped_as_older extracts rows seconds".split()


def run(context: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SalesforceLoadOperator(task_id="load", **options).execute(context)  # type: ignore[arg-type]


@pytest.fixture
def lake(tmp_path: Path) -> str:
    """A destination's URL, with `{sobject}`, that holds one extract of Account."""
    Made("base", 10, [row(1, 1), row(2, 1)], full=True).land(UPath(tmp_path / "lake" / "Account"))
    return f"file://{tmp_path}/lake/{{sobject}}"


def test_an_extract_and_its_load(connected_org: RunningOrg, context: dict[str, Any], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake/{{sobject}}"
    extract = SalesforceExtractOperator(
        task_id="extract", sobject="Account", destination=url, mode="incremental", fields=["Id", "Name", "Phone"]
    )
    landed = extract.execute(context)  # type: ignore[arg-type]
    operator = SalesforceLoadOperator(
        task_id="load", extracts=landed, table=f"duckdb://{tmp_path}/crm.duckdb/{{sobject}}"
    )
    result = operator.execute(context)  # type: ignore[arg-type]
    assert list(result) == KEYS and json.loads(json.dumps(result)) == result
    held = connected_org.org.records.count("Account")
    assert result["rows"] == result["inserted"] == landed["rows"] == held
    assert result["table"] == f"duckdb://{tmp_path}/crm.duckdb/Account" and operator.table_name == "Account"
    assert len(result["extracts"]) == 1 and result["version"] == 1
    with duckdb.connect(f"{tmp_path}/crm.duckdb") as database:
        assert database.execute('SELECT count(*), count(DISTINCT "Id") FROM "Account"').fetchone() == (held, held)
    again = operator.execute(context)  # type: ignore[arg-type]
    assert again["extracts"] == [] and again["rows"] == held and again["version"] == 1


def test_the_table_is_announced_as_an_asset(context: dict[str, Any], lake: str, tmp_path: Path) -> None:
    operator = SalesforceLoadOperator(
        task_id="load", extracts=lake, sobject="Account", table=f"delta+file://{tmp_path}/crm/{{sobject}}"
    )
    operator.execute(context)  # type: ignore[arg-type]
    (alias,) = operator.outlets
    assert isinstance(alias, AssetAlias) and alias.name == f"delta+file://{tmp_path}/crm/{{sobject}}"
    (event,) = context["outlet_events"][alias].asset_alias_events
    assert event.dest_asset_key.uri == Asset(f"file://{tmp_path}/crm/Account").uri
    assert event.extra["rows"] == 2 and event.extra["inserted"] == 2
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert [(each.namespace, each.name) for each in (*lineage.inputs, *lineage.outputs)] == [
        ("file", f"{tmp_path}/lake/Account"),
        ("file", f"{tmp_path}/crm/Account"),
    ]


def test_a_table_in_postgres_by_airflows_connection(
    context: dict[str, Any], lake: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "postgres", "host": "127.0.0.1", "port": postgres.port, "login": "postgres", "password": "SECRET-db-0123",
        "schema": "postgres", "extra": {"sslmode": "prefer"},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    result = run(context, extracts=lake, sobject="Account", table="postgres://warehouse/by_operator/{sobject}")
    assert result["rows"] == 2 and "SECRET" not in json.dumps(result)
    with postgres.connect() as database:
        assert database.execute('SELECT count(*) FROM by_operator."Account"').fetchone() == (2,)


def test_a_delta_table_in_an_object_store_by_airflows_connection(
    context: dict[str, Any], store: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection of its own: Airflow keeps a storage that it has opened for the whole process.
    Made("base", 10, [row(1, 1), row(2, 1)], full=True).land(store / "lake" / "Account")
    client = store.storage_options["client_kwargs"]
    connection = {"conn_type": "aws", "login": CREDENTIALS["key"], "password": CREDENTIALS["secret"], "extra": client}
    monkeypatch.setenv("AIRFLOW_CONN_LAKEHOUSE", json.dumps(connection))
    options = {
        "extracts": f"s3://lakehouse@{(store / 'lake').path}/{{sobject}}",
        "sobject": "Account",
        "table": f"delta+s3://lakehouse@{(store / 'tables').path}/{{sobject}}",
    }
    assert run(context, **options)["rows"] == 2
    Made("night", 20, [row(3, 15)], {id_of(1): 16}, window=(8, 20)).land(store / "lake" / "Account")
    result = run(context, **options)
    assert (result["inserted"], result["deleted"], result["rows"]) == (1, 1, 2)
    from tests.load.tables import delta_options

    table = deltalake.DeltaTable(f"s3://{(store / 'tables').path}/Account", storage_options=delta_options(store))
    assert table.version() == result["version"] == 1


def test_change_sets_by_url(context: dict[str, Any], lake: str, tmp_path: Path) -> None:
    result = run(context, extracts=lake, sobject="Account", table=f"changes+file://{tmp_path}/changes/{{sobject}}")
    assert result["version"] == 1 and list((tmp_path / "changes" / "Account" / "changes").glob("*.parquet"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"table": "mysql://db/crm/{sobject}"}, r"names no table: write it like delta\+s3://"),
        (
            {"table": "postgres://warehouse/{sobject}"},
            r"lacks a part: write postgres://<connection id>/<schema>/<table>",
        ),
        ({"table": "duckdb:///{sobject}"}, r"lacks a part: write duckdb:///<path of the file>/<table>"),
        ({"table": "changes+file:///changes/{sobject}", "mode": "soft"}, r"Change sets are of mode='current'"),
        ({"sobject": None}, r"extracts has \{sobject\} and the task does not say which object"),
        ({"extracts": {"rows": 1}}, r"not what SalesforceExtractOperator returns"),
        ({"extracts": ""}, r"extracts is empty"),
        ({"extracts": None}, r"extracts is empty.*An extract that was skipped returned nothing"),
        ({"extracts": [{"manifest": "x"}] * 2}, r"what 2 extracts returned.*expand\(extracts=extract.output\)"),
        ({"extracts": "{'manifest': '/lake/extract=1/_manifest.json'}"}, r"pass extract.output itself"),
        (
            {"extracts": "/lake/Account/extract=1/_manifest.json"},
            r"name the destination that it is in, file:///lake/Account",
        ),
        ({"extracts": "/lake/Account/extract=1"}, r"name the destination that it is in"),
        ({"extracts": "lake/{sobject}"}, r"extracts='lake/\{sobject\}' is a relative path"),
        ({"extracts": "/lake/None/{sobject}"}, r"extracts=.* holds 'None', as if a variable was not set"),
        ({"extracts": "s3:///{sobject}"}, r"extracts=.* names no bucket"),
        ({"sobject": "Contact"}, r"holds no extract that a table can be made of"),
        ({"extracts": "{lake}/Account", "sobject": "Contact"}, r"extracts are of Account, and sobject says 'Contact'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(
    changes: dict[str, Any], sentence: str, context: dict[str, Any], lake: str, tmp_path: Path
) -> None:
    options = {
        "extracts": lake,
        "sobject": "Account",
        "table": f"duckdb://{tmp_path}/crm.duckdb/{{sobject}}",
        **changes,
    }
    if isinstance(options["extracts"], str):
        options["extracts"] = options["extracts"].replace("{lake}", f"file://{tmp_path}/lake")
    with pytest.raises(AirflowFailException, match=sentence):
        run(context, **options)


def test_what_one_object_landed_is_not_loaded_as_another(context: dict[str, Any], lake: str, tmp_path: Path) -> None:
    """`expand` makes a task of each extract with each object, and the table is named by the object."""
    place = f"file://{tmp_path}/lake/Account"
    folder = next(UPath(place).glob("extract=*")).as_uri()
    options = {
        "extracts": {"path": folder, "manifest": f"{folder}/_manifest.json"},
        "table": f"duckdb://{tmp_path}/crm.duckdb/{{sobject}}",
    }
    with pytest.raises(
        AirflowFailException, match=r"extracts are of Account, and sobject says 'Contact'.*expand_kwargs"
    ):
        run(context, sobject="Contact", **options)
    assert run(context, sobject="account", **options)["rows"] == 2


def test_a_missing_package_is_named_with_its_extra(
    context: dict[str, Any], lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(AirflowFailException, match=r"'deltalake'.*pip install 'airflow-sfcc\[delta\]'"):
        run(context, extracts=lake, sobject="Account", table=f"delta+file://{tmp_path}/crm/{{sobject}}")


def test_options_are_checked_when_the_dag_is_parsed() -> None:
    make: Callable[..., Any] = SalesforceLoadOperator
    with pytest.raises(OptionError, match="mode must be one of current, soft, history"):
        make(task_id="load", extracts="file:///lake", table="duckdb:///crm.duckdb/Account", mode="append")
    with pytest.raises(OptionError, match="on_schema_change must be one of"):
        make.partial(task_id="load", table="duckdb:///crm.duckdb/Account", on_schema_change="ignore")  # type: ignore[attr-defined]
    for limit in ("lots", "256", "-1MB", "0MB"):
        with pytest.raises(OptionError, match=r"memory_limit=.* is no size: write it like '256MB'"):
            make(task_id="load", extracts="file:///lake", table="duckdb:///crm.duckdb/Account", memory_limit=limit)
    make(task_id="load", extracts="file:///lake", table="delta+{{ var.value.lake }}{sobject}", memory_limit="1.5 GB")


def test_a_killed_task_commits_nothing_more(context: dict[str, Any], lake: str, tmp_path: Path) -> None:
    operator = SalesforceLoadOperator(
        task_id="load", extracts=lake, sobject="Account", table=f"duckdb://{tmp_path}/crm.duckdb/{{sobject}}"
    )
    operator.on_kill()
    with pytest.raises(Exception, match="The load was stopped"):
        operator.execute(context)  # type: ignore[arg-type]
    with duckdb.connect(f"{tmp_path}/crm.duckdb") as database:
        assert database.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)


def test_the_object_is_that_of_the_manifest(context: dict[str, Any], tmp_path: Path) -> None:
    """Whatever the folder is called that the extracts lie in."""
    Made("base", 10, [row(1, 1)], full=True).land(UPath(tmp_path / "lake" / "Account" / "raw"))
    extracts = {"path": f"file://{tmp_path}/lake/Account/raw/extract=base", "rows": 1}
    result = run(context, extracts=extracts, table=f"duckdb://{tmp_path}/crm.duckdb/{{sobject}}")
    assert result["table"].endswith("/crm.duckdb/Account") and result["rows"] == 1


def test_three_and_four_slashes_name_the_same_file(tmp_path: Path, lake: str, context: dict[str, Any]) -> None:
    versions, assets = [], set()
    for slashes in ("//", "///"):
        operator = SalesforceLoadOperator(
            task_id="load", extracts=lake, sobject="Account", table=f"duckdb:{slashes}{tmp_path}/crm.duckdb/{{sobject}}"
        )
        versions.append(operator.execute(context)["version"])  # type: ignore[arg-type]
        (event,) = context["outlet_events"][operator.outlets[0]].asset_alias_events
        assets.add(event.dest_asset_key.uri)
    assert versions == [1, 1] and len(assets) == 1


def test_a_task_is_named_by_its_object_while_it_runs() -> None:
    extracts = {"path": "s3://aws_default@lake/salesforce/Account/extract=20270201T120000Z-0ca34210"}
    operator = SalesforceLoadOperator(task_id="load", extracts=extracts, table="delta+s3://lake/crm/{sobject}")
    assert operator.table_name == "Account"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("postgres://me:SECRET-db-0123@db.example/crm/{sobject}", "the id of an Airflow connection belongs"),
        ("postgres://db.example:5432/crm/{sobject}", "the id of an Airflow connection belongs"),
        ("postgres://warehouse/crm/{sobject}?sslmode=require", "belong into the extra of its Airflow connection"),
        ("duckdb://data/crm.duckdb/{sobject}", "with three slashes"),
        ("duckdb:///data/no#1.duckdb/{sobject}", "are written %3F and %23"),
        ("duckdb:///data/crm.duckdb/{object}", r"table='duckdb.*: nothing fills in \{object\}"),
        ("delta+s3://aws_default@lake/None/{sobject}", "holds 'None', as if a variable was not set"),
        ("postgres://None/crm/{sobject}", "holds 'None', as if a variable was not set"),
        ("delta+file://lake/{sobject}", r"write file:/// with three slashes"),
        ("changes+lake/{sobject}", r"is a relative path"),
        ("delta+s3://aws_default@/{sobject}", r"names no bucket or container"),
    ],
)
def test_what_no_table_is_named_by_is_refused_when_the_dag_is_parsed(table: str, sentence: str) -> None:
    for make in (SalesforceLoadOperator, SalesforceLoadOperator.partial):
        with pytest.raises(OptionError, match=sentence) as caught:
            make(task_id="load", extracts="file:///lake", table=table)
        assert "SECRET" not in str(caught.value)


def test_a_connection_without_credentials_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AIRFLOW_CONN_KEYLESS", json.dumps({"conn_type": "aws"}))
    with pytest.raises(ConfigurationError, match="'keyless' has no AWS credentials"):
        load_task.delta_options("s3://keyless@lake/crm/Account")


def test_log_and_files_of_a_table_go_to_the_same_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection in the URL, Airflow reads and writes files as the machine, and not by `aws_default`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET-of-the-machine")
    elsewhere = {"conn_type": "aws", "login": "other", "password": "x", "extra": {"endpoint_url": "http://127.0.0.1:1"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(elsewhere))
    options = load_task.delta_options("s3://lake/crm/Account") or {}
    assert options["AWS_ACCESS_KEY_ID"] == "of-the-machine" and "AWS_ENDPOINT_URL" not in options
    options = load_task.delta_options("s3://aws_default@lake/crm/Account") or {}
    assert options["AWS_ACCESS_KEY_ID"] == "other" and options["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"


def test_what_the_database_is_told_is_all_that_the_connection_says() -> None:
    from psycopg.conninfo import make_conninfo

    extra = {"sslmode": "require", "keepalives_idle": 60, "gssencmode": "disable", "keepalives": True, "cursor": "dict"}
    text = json.dumps({**extra, "host": "another", "connect_timeout": 5})
    stored = Connection(
        conn_id="db", conn_type="postgres", host="db", login="me", password="p w", port=5433, extra=text
    )
    settings = load_task.postgres_settings(stored)
    assert make_conninfo(**{name: value for name, value in settings.items() if value is not None})
    assert settings["keepalives_idle"] == "60" and settings["gssencmode"] == "disable" and settings["keepalives"] == "1"
    assert (settings["host"], settings["sslmode"], settings["connect_timeout"]) == ("db", "require", "5")
    assert "cursor" not in settings and settings["dbname"] is None


def test_a_store_that_cannot_be_reached_is_named(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the libraries of stores raise is no OSError."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        extra = {
            "endpoint_url": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"max_attempts": 1}},
        }
        connection = {"conn_type": "aws", "login": "key", "password": "a secret of the store", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
        with pytest.raises(StorageError, match=r"s3://store@lake/Account or duckdb.* failed .* nothing was loaded"):
            run(context, extracts="s3://store@lake/Account", table=f"duckdb://{tmp_path}/crm.duckdb/Account")
        told = CliRunner().invoke(vacuum, ["s3://store@lake/Account"])
        assert told.exit_code == 1 and "The storage of the destination s3://store@lake/Account failed" in told.output
        assert isinstance(told.exception, SystemExit)
        told = CliRunner().invoke(catalog, ["s3://store@lake/Account"])
        assert told.exit_code == 1 and "nothing was written" in told.output and isinstance(told.exception, SystemExit)


def test_a_google_key_that_the_connection_has_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"type": "service_account", "client_email": "lake@example.iam"}
    connection = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_LAKE", json.dumps(connection))
    options = load_task.delta_options("gs://google_lake@lake/crm/Account")
    assert options is not None and json.loads(options["GOOGLE_SERVICE_ACCOUNT_KEY"]) == key
