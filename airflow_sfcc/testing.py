"""pytest fixtures for people who test their own DAGs: a Salesforce org with the records they name, and `run_dag`.

pytest finds this plugin by its entry point `pytest11`; nothing is imported, and no setting touched, before a test asks for
one of the fixtures. docs/testing.md starts with a test that runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from salesforce_localorg.faults import ActiveFault
    from salesforce_localorg.org import LocalOrg
    from salesforce_localorg.server import OrgServer

DEFAULT_CONN_ID = "sfcc_default"
Flow = Literal["client-credentials", "jwt"]
DAGS_OPTION = "sfcc_dags"
_BUNDLE = "dags-folder"
_MARK = (
    "sfcc_org(records, rows, conn_id, **config): what the fixture sfcc_org holds: records by name, such as "
    '{"Account": [{"Name": "Acme"}]}, made-up rows by number, such as {"Contact": 500}'
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(DAGS_OPTION, "Folder with the DAGs that run_dag finds by their id (airflow-sfcc)", default="dags")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)


class SalesforceOrg:
    """A Salesforce org on this machine, for one test. Timestamps are UTC.

    `local_org` is the org behind it, with everything that localorg/docs/guide.md describes.
    """

    def __init__(self, local_org: LocalOrg, server: OrgServer, conn_id: str, private_key: str | None = None) -> None:
        self.local_org = local_org
        self._private_key = private_key
        self.conn_id = conn_id
        self._server = server
        self._faults: list[ActiveFault] = []

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to this org, as JSON."""
        credentials = self._server.credentials
        return {
            "conn_type": "sfcc",
            "host": credentials.url,
            "login": credentials.consumer_key,
            **self._login(credentials.consumer_secret),
        }

    def _login(self, secret: str) -> dict[str, Any]:
        if self._private_key is None:
            return {"password": secret}
        return {"password": self._private_key, "extra": {"username": self.local_org.run_as}}

    def insert(self, sobject: str, *records: Mapping[str, Any]) -> list[str]:
        """Add records and return their ids. System fields may be given too, such as CreatedDate or SystemModstamp."""
        org = self.local_org
        return [org.records.insert(sobject, values, user_id=org.run_as_user_id) for values in records]

    def update(self, sobject: str, record_id: str, **values: Any) -> None:
        """Change fields of a record; its stamps move to the org's present, unless they are given too."""
        self.local_org.records.update(sobject, record_id, values, user_id=self.local_org.run_as_user_id)

    def delete(self, sobject: str, record_id: str) -> None:
        """Move a record to the recycle bin."""
        self.local_org.records.delete(sobject, record_id, user_id=self.local_org.run_as_user_id)

    def count(self, sobject: str) -> int:
        """How many records there are, those in the recycle bin not counted."""
        return self.local_org.records.count(sobject)

    def set_time(self, when: datetime) -> None:
        """Move the org's clock."""
        self.local_org.clock.set(when)

    def fail(self, route: str, **effects: Any) -> None:
        """Make the next call of a route go wrong: `fail("job_results", status=503)`, `fail("token", reset=True)`.

        Routes and effects: localorg/docs/guide.md ("Faults"); `route` may be a regular expression, such as `query|query_all`.
        Raises ValueError for a route that the org does not have. A fault that no call has met when the test ends is an
        error of the test: it tested something else than it says.
        """
        from salesforce_localorg.faults import Fault

        fault = Fault(route=route, **effects)
        if not any(re.fullmatch(route, known) for known in _routes()):
            raise _unknown_route(route)
        self._faults.append(self.local_org.faults.add(fault))

    def calls(self, route: str) -> int:
        """How often a route was called. Raises ValueError for a route that the org does not have."""
        if route not in _routes():
            raise _unknown_route(route)
        return self.local_org.calls.counts.get(route, 0)

    @property
    def faults_never_met(self) -> list[str]:
        """The routes of the faults set by `fail` that no call has met so far."""
        return [active.fault.route for active in self._faults if not active.hits]


def _routes() -> list[str]:
    from salesforce_localorg.wire.route_table import ALL_ROUTES

    return sorted({route.name for route in ALL_ROUTES})


def _unknown_route(route: str) -> ValueError:
    from airflow_sfcc.wording import did_you_mean

    return ValueError(f"The org has no route {route!r}. {did_you_mean(route, _routes()) or f'It has {_routes()}.'}")


class StartOrg(Protocol):
    """What the fixture start_sfcc_org is."""

    def __call__(
        self,
        *,
        records: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        rows: Mapping[str, int] | None = None,
        conn_id: str = DEFAULT_CONN_ID,
        flow: Flow = "client-credentials",
        objects: int | None = None,
        **config: Any,
    ) -> SalesforceOrg: ...


@pytest.fixture
def start_sfcc_org(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartOrg]:
    """Starts orgs that live as long as the test, each with an Airflow connection to it.

    records: records by name, `{"Account": [{"Name": "Acme"}]}`; rows: made-up records by number, `{"Contact": 500}`;
    conn_id: the Airflow connection, by which the org has its id; flow: how it logs in, "client-credentials" or "jwt", for which a
    key pair is made; objects: how many objects the org has, all above the standard ones generated; config: anything else
    of `salesforce_localorg.org.OrgConfig`.
    """
    from salesforce_localorg.org import LocalOrg, OrgConfig
    from salesforce_localorg.schema import Schema
    from salesforce_localorg.schema.generated import generated_counts
    from salesforce_localorg.server import OrgServer

    started: list[SalesforceOrg] = []
    with ExitStack() as running:

        def start(
            *,
            records: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
            rows: Mapping[str, int] | None = None,
            conn_id: str = DEFAULT_CONN_ID,
            flow: Flow = "client-credentials",
            objects: int | None = None,
            **config: Any,
        ) -> SalesforceOrg:
            private_key, certificate = _key_pair(flow)
            settings = {"org_id": _org_id(conn_id), **certificate, **config}
            schema = Schema.standard() if objects is None else Schema.sized(objects)
            counts = {"User": 1, **generated_counts(schema), **(rows or {})}
            local_org = running.enter_context(LocalOrg(OrgConfig(counts=counts, **settings), schema=schema))
            local_org.generate()
            org = SalesforceOrg(local_org, running.enter_context(OrgServer(local_org)), conn_id, private_key)
            for sobject, given in (records or {}).items():
                org.insert(sobject, *given)
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(org.connection))
            started.append(org)
            return org

        yield start
    unmet = [route for org in started for route in org.faults_never_met]
    if unmet:
        pytest.fail(
            f"No call met the fault on {', '.join(unmet)}, so this test did not test it: name the route that is called, or "
            "leave the fault out.",
            pytrace=False,
        )


def _key_pair(flow: Flow) -> tuple[str | None, dict[str, Any]]:
    """A private key, and what the org's configuration needs for it."""
    if flow == "client-credentials":
        return None, {}
    if flow != "jwt":
        raise ValueError(f"flow is 'client-credentials' or 'jwt', not {flow!r}.")
    from salesforce_localorg.key_pairs import KeyPair

    pair = KeyPair.generate()
    return pair.private_key, {"certificate": pair.certificate, "client_credentials_enabled": False}


def _org_id(conn_id: str) -> str:
    """Another org for each connection, as real ones are, and the same one when the test runs again."""
    from salesforce_localorg.ids import record_id

    return record_id("00D", int.from_bytes(hashlib.sha256(conn_id.encode()).digest()[:6], "big"))


@pytest.fixture
def sfcc_org(request: pytest.FixtureRequest, start_sfcc_org: StartOrg) -> SalesforceOrg:
    """A Salesforce org for this test, behind the connection `sfcc_default`; the mark `sfcc_org` says what it holds."""
    mark = request.node.get_closest_marker("sfcc_org")
    return start_sfcc_org(**(mark.kwargs if mark else {}))


@dataclass(frozen=True)
class DagRunResult:
    """How a DAG's run ended.

    state: `success` or `failed`.
    tasks: the state of each task, by task id; of a mapped one by `task_id[map_index]`.
    errors: what each failed task raised at last, by the same names.
    """

    state: str
    tasks: Mapping[str, str | None]
    errors: Mapping[str, BaseException | str]
    _xcoms: Mapping[tuple[str, str], Mapping[int, Any]]

    @property
    def error(self) -> str | None:
        """What the first failed task raised, as a sentence; None when none failed."""
        return next((f"{type(each).__name__}: {each}" for each in self.errors.values()), None)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """What a task returned; for a mapped task the list of what its instances returned, in their order.

        Raises KeyError when it returned nothing.
        """
        values = self._xcoms.get((task_id, key))
        if values is None:
            raise KeyError(f"Task {task_id!r} left no XCom {key!r}; the tasks ended so: {dict(self.tasks)}")
        return values[-1] if set(values) == {-1} else [values[index] for index in sorted(values)]


class RunDag(Protocol):
    """What the fixture run_dag is."""

    def __call__(
        self, dag: Any, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None
    ) -> DagRunResult: ...


@pytest.fixture
def run_dag(sfcc_airflow: Path, pytestconfig: pytest.Config) -> RunDag:
    """Runs a DAG to its end in this process, triggers included: `run_dag("nightly")`, or `run_dag(dag)`.

    A DAG named by its id is read from the folder `dags` beside pytest's configuration (`sfcc_dags` there names another),
    anew for each run. `logical_date` is now unless given. Raises LookupError when there is no such DAG.
    """
    folder = pytestconfig.rootpath / str(pytestconfig.getini(DAGS_OPTION))

    def run(dag: Any, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> DagRunResult:
        found = _dag_by_id(folder, dag) if isinstance(dag, str) else dag
        _make_known(found, sfcc_airflow)
        when = {} if logical_date is None else {"logical_date": logical_date, "run_after": logical_date}
        with _failures() as errors:
            dag_run = found.test(run_conf=conf, **when)
        return _result(dag_run, errors)

    return run


@contextmanager
def _failures() -> Iterator[dict[str, BaseException | str]]:
    """What the tasks that fail meanwhile have raised, by their names."""
    from airflow.listeners import hookimpl

    errors: dict[str, BaseException | str] = {}

    class Listener:
        @hookimpl
        def on_task_instance_failed(self, task_instance: Any, error: BaseException | str | None) -> None:
            errors[_name(task_instance)] = error or "no exception is known"

        @hookimpl
        def on_task_instance_success(self, task_instance: Any) -> None:
            errors.pop(_name(task_instance), None)

    listener = Listener()
    manager = _listener_manager()
    manager.add_listener(listener)
    try:
        yield errors
    finally:
        manager.pm.unregister(listener)


def _listener_manager() -> Any:
    try:
        module = import_module("airflow.sdk.listener")
    except ImportError:  # before Airflow 3.3
        module = import_module("airflow.listeners.listener")
    return module.get_listener_manager()


def _name(ti: Any) -> str:
    return ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"


@pytest.fixture(scope="session")
def sfcc_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An Airflow for the tests alone: its database, logs and settings are in this folder. Nothing of it runs by itself."""
    home = tmp_path_factory.mktemp("sfcc-airflow")
    dags = home / "no-dags"
    dags.mkdir()
    with pytest.MonkeyPatch.context() as environment:
        if "airflow" not in sys.modules:
            environment.setenv("AIRFLOW_HOME", str(home))
        for name, value in {
            "CORE__DAGS_FOLDER": dags,
            "CORE__LOAD_EXAMPLES": False,
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "LOGGING__BASE_LOG_FOLDER": home / "logs",
            "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": _bundles(dags),
        }.items():
            environment.setenv(f"AIRFLOW__{name}", str(value))
        environment.setenv("NO_PROXY", ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get("NO_PROXY")])))
        _use_new_database()
        yield home
        _leave_database()


def _bundles(dags: Path) -> str:
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return json.dumps([{"name": _BUNDLE, "classpath": bundle, "kwargs": {"path": str(dags)}}])


def _use_new_database() -> None:
    from airflow import settings
    from airflow.utils.db import initdb

    # Airflow reads where its database is when it is imported, which a test module may have done long ago.
    settings.dispose_orm()
    settings.configure_vars()  # type: ignore[no-untyped-call]
    settings.configure_orm()  # type: ignore[no-untyped-call]
    initdb()


def _leave_database() -> None:
    from airflow import settings

    settings.dispose_orm()


def _dag_by_id(folder: Path, dag_id: str) -> Any:
    bag = _dag_bag(folder)
    found = bag.dags.get(dag_id)
    if found is None:
        problems = "".join(f"\n{path}:\n{problem}" for path, problem in bag.import_errors.items())
        raise LookupError(
            f"There is no DAG {dag_id!r} in {folder}; it has {', '.join(sorted(bag.dags)) or 'none'}. "
            f"Another folder is named by {DAGS_OPTION} in pytest's configuration.{problems}"
        )
    return found


def _dag_bag(folder: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]
    return DagBag(dag_folder=str(folder))


def _make_known(dag: Any, home: Path) -> None:
    """A run belongs to a version of its DAG in the database; without it Airflow has nothing to run."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    bag = _dag_bag(home / "no-dags")
    bag.bag_dag(dag)
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(bag, _BUNDLE, None)


def _result(dag_run: Any, errors: Mapping[str, BaseException | str]) -> DagRunResult:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    tasks = {_name(ti): ti.state and str(ti.state) for ti in dag_run.get_task_instances()}
    xcoms: dict[tuple[str, str], dict[int, Any]] = {}
    with create_session() as session:
        wanted = select(XComModel).where(XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id)
        for entry in session.scalars(wanted):
            value = XComModel.deserialize_value(entry)
            xcoms.setdefault((entry.task_id, entry.key), {})[entry.map_index] = value
    return DagRunResult(str(dag_run.state), tasks, errors, xcoms)


__all__ = [
    "DagRunResult",
    "RunDag",
    "SalesforceOrg",
    "StartOrg",
    "run_dag",
    "sfcc_airflow",
    "sfcc_org",
    "start_sfcc_org",
]
