"""One attempt of a load: URLs and Airflow connections become a destination and a table."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from airflow_sfcc._airflow.destinations import (
    destination_path,
    destination_url,
    is_of_storage,
    landed_in,
    storage_failures,
)
from airflow_sfcc.assets import destination_uri
from airflow_sfcc.errors import ConfigurationError, StorageError
from airflow_sfcc.extract.manifests import read_manifest
from airflow_sfcc.load.loading import LoadOptions, OnSchemaChange, counts_of, load
from airflow_sfcc.load.model import Mode
from airflow_sfcc.load.targets import Target
from airflow_sfcc.wording import plural

if TYPE_CHECKING:
    import psycopg
    from airflow.sdk import ObjectStoragePath

FORMS = (
    "delta+s3://connection@bucket/crm/{sobject}, delta+file:///data/crm/{sobject}, postgres://connection/schema/{sobject}, "
    "duckdb:///data/crm.duckdb/{sobject} or, for change sets, changes+s3://connection@bucket/crm/{sobject}"
)
_EXTRAS = {"deltalake": "delta", "psycopg": "postgres", "duckdb": "duckdb", "numpy": "delta"}
_S3_TIMEOUT = 60


class LoadSettings(Protocol):
    """What a load reads of its operator."""

    extracts: Any
    table: str
    sobject: str | None
    mode: Mode
    on_schema_change: OnSchemaChange
    memory_limit: str

    @property
    def log(self) -> Any: ...


class LoadTask:
    """`run` loads what the table has not loaded yet."""

    def __init__(self, operator: LoadSettings, stop: threading.Event) -> None:
        self._operator = operator
        self._stop = stop
        self._landed: Mapping[str, Any] | None = None
        self.sobject = operator.sobject
        """The object, where it has to be known."""
        self.destination_url = self._destination_url(operator.extracts)
        self.table_url = self._filled(operator.table, "table")

    def run(self) -> dict[str, Any]:
        """What the task returns."""
        operator = self._operator
        try:
            source = destination_path(self.destination_url)
            target = self.target(source)
            options = LoadOptions(
                mode=operator.mode,
                on_schema_change=operator.on_schema_change,
                memory_limit=operator.memory_limit,
                sobject=operator.sobject,
                log=operator.log.info,
                stopped=self._stop.is_set,
            )
            result = load(source, target, options)
        except ModuleNotFoundError as problem:
            raise missing_package(problem) from problem
        except Exception as problem:
            if not is_of_storage(problem):
                raise
            raise StorageError(
                f"The storage of {self.destination_url} or {self.table_url} failed ({type(problem).__name__}: {problem}); "
                "nothing was loaded. See that both are there, that the worker may read and write them, and that there is room."
            ) from problem
        loaded = plural(len(result["extracts"]), "extract")
        operator.log.info(
            "Loaded %s into %s: %s; it has %s",
            loaded,
            result["table"],
            counts_of(result),
            plural(result["rows"], "row"),
        )
        return result

    @property
    def asset_uri(self) -> str:
        """The table as Airflow's assets are named: no connection ids and no formats, a database by its host."""
        parts = urlsplit(self.table_url.removeprefix("delta+").removeprefix("changes+"))
        if parts.scheme.startswith("postgres"):
            from airflow.sdk import BaseHook

            connection = BaseHook.get_connection(parts.netloc)
            place = f"{connection.host or 'localhost'}:{connection.port or 5432}"
            return f"postgres://{place}/{connection.schema or connection.login or 'postgres'}{parts.path}"
        path = f"/{parts.path.lstrip('/')}"  # four slashes, as SQLAlchemy writes them, are the same file
        return destination_uri(urlunsplit(parts._replace(path=path)))

    def _destination_url(self, extracts: object) -> str:
        """The destination's URL, from a URL or from what an extract returned."""
        if isinstance(extracts, Mapping):
            url = landed_in(extracts)
            if url is None:
                raise ConfigurationError(
                    "extracts is no destination URL, and not what SalesforceExtractOperator returns: pass one of both, such as "
                    "extract.output or 's3://aws_default@lake/salesforce/{sobject}'."
                )
            self._landed = extracts
            return url
        _refuse_no_url(extracts)
        return self._filled(destination_url(extracts, "extracts"), "extracts")

    def _filled(self, url: str, parameter: str) -> str:
        if "{sobject}" not in url:
            return url
        self.sobject = self.sobject or (_object_of(self._landed, self.destination_url) if self._landed else None)
        if not self.sobject:
            raise ConfigurationError(
                f"{parameter} has {{sobject}} and the task does not say which object: set sobject, or pass what the extract "
                "returned as extracts."
            )
        return url.replace("{sobject}", self.sobject)

    def target(self, source: ObjectStoragePath) -> Target:
        """The table that `table` names."""
        scheme = self.table_url.partition("://")[0]
        kinds: Mapping[str, Callable[[ObjectStoragePath], Target]] = {
            "postgres": self._in_postgres,
            "postgresql": self._in_postgres,
            "duckdb": self._in_duckdb,
        }
        if scheme.startswith("delta+"):
            return self._in_delta(source)
        if scheme.startswith("changes+"):
            return self._in_change_files()
        if scheme not in kinds:
            raise ConfigurationError(f"table={self.table_url!r} names no table: write it like {FORMS}.")
        return kinds[scheme](source)

    def _in_delta(self, source: ObjectStoragePath) -> Target:
        from airflow_sfcc.load.delta.table import DeltaTable

        url = self.table_url.removeprefix("delta+")
        root = destination_path(url)
        return DeltaTable(root, self.table_url, delta_options(url), source=source, stopped=self._stop.is_set)

    def _in_change_files(self) -> Target:
        from airflow_sfcc.load.change_files import ChangeFiles

        if self._operator.mode != "current":
            raise ConfigurationError(
                f"Change sets are of mode='current', and this task has {self._operator.mode!r}: leave mode out, or load into one "
                "of the other tables."
            )
        root = destination_path(self.table_url.removeprefix("changes+"))
        return ChangeFiles(root, self.table_url, stopped=self._stop.is_set)

    def _in_postgres(self, source: ObjectStoragePath) -> Target:
        from airflow_sfcc.load.postgres_table import PostgresTable

        parts = urlsplit(self.table_url)
        names = [unquote(name) for name in parts.path.strip("/").split("/")]
        if not parts.netloc or len(names) != 2 or not all(names):
            raise ConfigurationError(
                f"table={self.table_url!r} lacks a part: write postgres://<connection id>/<schema>/<table>."
            )
        schema, table = names
        return PostgresTable(_postgres(parts.netloc), schema, table, self.table_url)

    def _in_duckdb(self, source: ObjectStoragePath) -> Target:
        from airflow_sfcc.load.duckdb_table import DuckDBTable

        parts = urlsplit(self.table_url)
        file, _, table = f"/{unquote(parts.path).strip('/')}".rpartition("/")
        if parts.netloc or not file.strip("/") or not table:
            raise ConfigurationError(
                f"table={self.table_url!r} lacks a part: write duckdb:///<path of the file>/<table>."
            )
        return DuckDBTable(Path(file), table, self.table_url)


def _refuse_no_url(extracts: object) -> None:
    """Raise ConfigurationError for what people pass instead of a destination's URL, or of what an extract returned."""
    if isinstance(extracts, Sequence) and not isinstance(extracts, str):
        raise ConfigurationError(
            f"extracts holds what {plural(len(extracts), 'extract')} returned, and a task takes that of one: map it with "
            ".partial(...).expand(extracts=extract.output)."
        )
    if isinstance(extracts, str) and extracts.lstrip().startswith("{'"):
        raise ConfigurationError(
            "extracts is the text of what an extract returned, which a template made of it: pass extract.output itself, or set "
            "render_template_as_native_obj=True in the DAG."
        )
    folder = landed_in({"path": str(extracts)})
    if folder:
        raise ConfigurationError(
            f"extracts={str(extracts)!r} is the folder of one extract: name the destination that it is in, {folder}."
        )
    if not extracts:
        raise ConfigurationError(
            "extracts is empty: name the destination URL, or pass what the extract returned. An extract that was skipped "
            "returned nothing."
        )


def _object_of(extracted: Mapping[str, Any], destination: str) -> str:
    """The object of what an extract returned, by its manifest; what its folder is called where that is gone."""
    folder = extracted.get("path") or str(extracted["manifest"]).rpartition("/")[0]
    with storage_failures(destination):
        manifest = read_manifest(destination_path(str(folder)))
    return str(manifest["sobject"]) if manifest else destination.rstrip("/").rpartition("/")[2]


def _postgres(conn_id: str) -> Callable[[], psycopg.Connection[Any]]:
    """Connects as Airflow's connection says."""

    def connect() -> psycopg.Connection[Any]:
        import psycopg
        from airflow.sdk import BaseHook

        return psycopg.connect(**postgres_settings(BaseHook.get_connection(conn_id)))

    return connect


def postgres_settings(connection: Any) -> dict[str, Any]:
    """libpq's settings from an Airflow connection: its fields, and of the extra whatever libpq knows. What others need of it,
    such as `cursor` of Airflow's own hook, is left to them."""
    from psycopg import pq

    known = {each.keyword.decode() for each in pq.Conninfo.get_defaults()}
    extra = {name: value for name, value in connection.extra_dejson.items() if name in known and value is not None}
    return {
        **{"connect_timeout": "30", "application_name": "airflow-sfcc"},
        **{name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in extra.items()},
        "host": connection.host or None,
        "port": connection.port or None,
        "user": connection.login or None,
        "password": connection.password or None,
        "dbname": connection.schema or None,
    }


def delta_options(url: str) -> dict[str, str] | None:
    """delta-rs's options for the storage, from the Airflow connection in the URL; None for a disk."""
    parts = urlsplit(url)
    conn_id = parts.netloc.rpartition("@")[0]
    if parts.scheme in ("", "file"):
        return None
    if parts.scheme in ("s3", "s3a"):
        return _s3_options(conn_id or None)
    from airflow.sdk import BaseHook

    if not conn_id:
        return {}
    connection = BaseHook.get_connection(conn_id)
    if parts.scheme in ("gs", "gcs"):
        return _google_options(connection.extra_dejson)
    return _azure_options(connection)


def _s3_options(conn_id: str | None) -> dict[str, str]:
    """Airflow's own hook finds the credentials: keys, a profile, a role. Without a connection in the URL they are the machine's
    own, as they are for the files: log and files of a table must not go to two stores."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    hook: Any = AwsGenericHook(aws_conn_id=conn_id, client_type="s3")
    found = hook.get_session().get_credentials()
    if found is None:
        lack = f"The Airflow connection {conn_id!r} has no AWS credentials" if conn_id else "The table's URL names none"
        raise ConfigurationError(
            f"{lack}, and this machine has none of its own: name an Airflow connection that has a key, such as "
            "delta+s3://aws_default@bucket/crm/{sobject}."
        )
    credentials = found.get_frozen_credentials()
    endpoint = hook.conn_config.get_service_endpoint_url("s3")
    options = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token,
        "AWS_REGION": hook.region_name or "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if str(endpoint or "").startswith("http://") else None,
        "timeout": f"{_S3_TIMEOUT}s",
    }
    return {name: str(value) for name, value in options.items() if value}


def _google_options(extra: Mapping[str, Any]) -> dict[str, str]:
    """A key file or its content; else what the machine has (application default credentials)."""
    key = extra.get("keyfile_dict") or extra.get("extra__google_cloud_platform__keyfile_dict")
    options = {
        "GOOGLE_SERVICE_ACCOUNT": extra.get("key_path") or extra.get("extra__google_cloud_platform__key_path"),
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key) if isinstance(key, Mapping) else key,
    }
    return {name: str(value) for name, value in options.items() if value}


def _azure_options(connection: Any) -> dict[str, str]:
    """An account key, a SAS token, or a service principal, as Airflow's connection of type wasb or adls has them."""
    extra = connection.extra_dejson
    account = (connection.host or connection.login or "").split("//")[-1].split(".")[0]
    tenant = extra.get("tenant_id")
    options = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_SAS_KEY": extra.get("sas_token"),
        "AZURE_STORAGE_TENANT_ID": tenant,
        "AZURE_STORAGE_CLIENT_ID": connection.login if tenant else None,
        "AZURE_STORAGE_CLIENT_SECRET": connection.password if tenant else None,
        "AZURE_STORAGE_ACCOUNT_KEY": None if tenant else (extra.get("account_key") or connection.password),
    }
    return {name: str(value) for name, value in options.items() if value}


def missing_package(problem: ModuleNotFoundError) -> ConfigurationError:
    """What to raise where a package of an extra is not installed."""
    name = str(problem.name).partition(".")[0]
    extra = _EXTRAS.get(name)
    advice = f"pip install 'airflow-sfcc[{extra}]'" if extra else f"install {name}"
    return ConfigurationError(f"This needs the package {name!r}, which this worker does not have: {advice}.")
