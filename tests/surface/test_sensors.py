"""Sensors, @task.soql, watchers and the retry policy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG, task
from salesforce_localorg.org import LocalOrg

from airflow_sfcc import errors, triggers
from airflow_sfcc._airflow import versions
from airflow_sfcc._airflow.versions import INSTALLED
from airflow_sfcc.operators import SalesforceExtractOperator
from airflow_sfcc.provider import get_provider_info
from airflow_sfcc.retry_policy import SALESFORCE_RETRY_POLICY
from airflow_sfcc.sensors import SalesforceQuerySensor
from airflow_sfcc.triggers import QueryTrigger
from airflow_sfcc.watchers import SalesforceRecordsTrigger
from tests.conftest import SECRET, RunningOrg

FOUND = "SELECT Id FROM Account WHERE Name != :none"
NOTHING = "SELECT Id FROM Account WHERE Name = :none"
BIND = {"none": "no such 'name'"}


def sensor(soql: str, **options: Any) -> SalesforceQuerySensor:
    settings: dict[str, Any] = {"bind": BIND, "poke_interval": 0.05, "timeout": 1, **options}
    return SalesforceQuerySensor(task_id="wait", soql=soql, **settings)


def fire(waiting: SalesforceQuerySensor, context: Any) -> Any:
    """Defer, run the trigger from what is stored of it, and resume."""
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(context)
    path, arguments = deferred.value.trigger.serialize()
    assert path == "airflow_sfcc.triggers.QueryTrigger" and SECRET not in json.dumps(arguments)

    async def first() -> dict[str, Any]:
        async for event in QueryTrigger(**json.loads(json.dumps(arguments))).run():
            return dict(event.payload)
        raise AssertionError("the trigger ended without an event")

    return getattr(waiting, deferred.value.method_name)(context, event=asyncio.run(first()))


@pytest.mark.parametrize("soql", [FOUND, "SELECT COUNT() FROM Account WHERE Name != :none"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_sensor_returns_how_many_records_it_found(
    connected_org: RunningOrg, context: Any, soql: str, deferrable: bool
) -> None:
    assert sensor(soql, deferrable=deferrable).execute(context) == connected_org.org.records.count("Account")


def test_the_sensor_times_out_as_a_sensor(connected_org: RunningOrg, context: Any) -> None:
    with pytest.raises(AirflowSensorTimeout, match="found no record within 1 s"):
        fire(sensor(NOTHING, deferrable=True), context)
    with pytest.raises(AirflowSkipException):
        fire(sensor(NOTHING, deferrable=True, soft_fail=True), context)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("setting", ["soft_fail", "never_fail"])
def test_a_wrong_query_on_the_first_poke_may_skip(
    connected_org: RunningOrg, context: Any, deferrable: bool, setting: str
) -> None:
    with pytest.raises(AirflowSkipException):
        sensor("SELECT Nothing FROM Account", bind=None, deferrable=deferrable, **{setting: True}).execute(context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_transient_error_on_the_first_poke(connected_org: RunningOrg, context: Any, deferrable: bool) -> None:
    connected_org.fail("query", status=503, times=None)
    with pytest.raises(errors.UnavailableError):
        sensor(FOUND, deferrable=deferrable, soft_fail=True).execute(context)
    with pytest.raises(AirflowSkipException):
        sensor(FOUND, deferrable=deferrable, never_fail=True).execute(context)


def test_a_transient_error_on_the_first_poke_may_be_waited_for(connected_org: RunningOrg, context: Any) -> None:
    connected_org.fail("query", status=503, times=2)
    assert fire(sensor(FOUND, deferrable=True, silent_fail=True, timeout=60), context) > 0


def test_an_error_in_the_triggerer_may_skip(connected_org: RunningOrg, context: Any) -> None:
    event = {
        "status": "error",
        "error": "UnavailableError",
        "message": "Salesforce did not respond.",
        "permanent": False,
    }
    with pytest.raises(errors.UnavailableError):
        sensor(FOUND, deferrable=True, soft_fail=True).execute_complete(context, event)
    with pytest.raises(AirflowSkipException):
        sensor(FOUND, deferrable=True, never_fail=True).execute_complete(context, event)


def test_the_sensor_says_that_it_waits_in_the_triggerer(
    connected_org: RunningOrg, context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TaskDeferred):
        sensor(NOTHING, deferrable=True).execute(context)
    assert "has no running triggerer" in capsys.readouterr().out


def test_the_deferred_sensor_goes_on_when_records_appear(connected_org: RunningOrg, context: Any) -> None:
    answer = {"totalSize": 0, "done": True, "records": []}
    connected_org.fail("query", status=200, body=answer, times=3)
    assert fire(sensor(FOUND, deferrable=True, timeout=60), context) > 0
    assert connected_org.calls("query") == 4


def test_one_failure_between_queries_far_apart_is_waited_for(
    connected_org: RunningOrg, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sensor that asks once an hour has always waited longer than the triggerer's patience when a query fails."""
    monkeypatch.setattr(triggers, "PATIENCE", 0.2)
    connected_org.fail("query", status=200, body={"totalSize": 0, "done": True, "records": []})
    connected_org.fail("query", status=503, skip=1)
    assert fire(sensor(FOUND, deferrable=True, poke_interval=0.5, timeout=60), context) > 0
    assert connected_org.calls("query") == 3


def test_the_time_between_queries_grows_in_the_triggerer_too(connected_org: RunningOrg, context: Any) -> None:
    for given, longest in (({}, None), ({"max_wait": timedelta(minutes=5)}, 300.0), ({"timeout": 7200}, 7200.0)):
        options = {"exponential_backoff": bool(longest), "timeout": 60, **given}
        with pytest.raises(TaskDeferred) as deferred:
            sensor(NOTHING, deferrable=True, **options).execute(context)
        assert deferred.value.trigger.serialize()[1]["longest"] == longest
    arguments = deferred.value.trigger.serialize()[1]
    del arguments["longest"]  # as an earlier version of the package stored it
    assert QueryTrigger(**arguments).longest is None


def test_a_query_that_is_wrong_fails_at_once(connected_org: RunningOrg, context: Any) -> None:
    with pytest.raises(AirflowFailException, match="No such column"):
        sensor("SELECT Id FROM Account WHERE Nmae != :none").poke(context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_query_that_always_answers_one_record_is_refused(
    connected_org: RunningOrg, context: Any, deferrable: bool
) -> None:
    waiting = sensor("SELECT COUNT(Id) FROM Account WHERE Name = :none", deferrable=deferrable)
    with pytest.raises(AirflowFailException, match=r"use SELECT COUNT\(\) FROM"):
        waiting.execute(context)
    grouped = sensor("SELECT COUNT(Id) FROM Account WHERE Name = :none GROUP BY Industry")
    assert grouped.poke(context).is_done is False


def test_task_soql_shows_no_query_that_it_does_not_run() -> None:
    @task.soql  # type: ignore[attr-defined,untyped-decorator,unused-ignore]
    def rows() -> str:
        return "SELECT Id FROM Account"

    with DAG("d", schedule=None):
        shown: Any = rows()
        assert "SELECT" not in shown.operator.soql


def test_task_soql(connected_org: RunningOrg, context: Any) -> None:
    assert get_provider_info()["task-decorators"][0]["name"] == "soql"
    with DAG("soql", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

        @task.soql(bind={"names": ["O'Neil", "Smith", "Garcia"]})  # type: ignore[attr-defined,untyped-decorator,unused-ignore]
        def named(limit: int) -> str:
            return f"SELECT LastName FROM Contact WHERE LastName IN :names LIMIT {limit}"

        result: Any = named(3)
    operator = result.operator
    records = operator.execute(context)
    assert len(records) == 3 and {record["LastName"] for record in records} <= {"O'Neil", "Smith", "Garcia"}
    assert operator.soql.endswith("LIMIT 3"), "the UI shows the query that ran"


def test_values_that_look_like_templates_stay_as_they_are(connected_org: RunningOrg, context: Any) -> None:
    """What the function returned is rendered; `bind` was rendered before, and its values may be anybody's text."""
    with DAG("soql_braces", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

        @task.soql(bind={"name": "{{ 1 / 0 }}"})  # type: ignore[attr-defined,untyped-decorator,unused-ignore]
        def named() -> str:
            return "SELECT LastName FROM {{ 'Contact' }} WHERE LastName = :name"

        result: Any = named()
    assert result.operator.execute(context) == []
    assert result.operator.soql == "SELECT LastName FROM Contact WHERE LastName = :name"


class Store:
    """What Airflow 3.3 gives a watcher to remember things in."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))


async def watch(org: RunningOrg, store: Store, where: str, steps: Sequence[Callable[[], Any]]) -> list[int]:
    """Each step happens between two looks; how many records were new at each event."""
    fired = []
    watching = SalesforceRecordsTrigger("Account", where=where, poll_interval=0.02)
    watching.asset_state_store = store  # type: ignore[assignment]

    async def events() -> None:
        async for event in watching.run():
            fired.append(event.payload["records"])

    async def some_looks() -> None:
        before = org.calls("query")
        while org.calls("query") < before + 4:
            await asyncio.sleep(0.01)

    running = asyncio.create_task(events())
    for step in steps:
        await some_looks()
        step()
    await some_looks()
    running.cancel()
    return fired


def test_a_watcher_fires_for_new_records_and_remembers_them(fresh_org: RunningOrg) -> None:
    store = Store()
    made: list[str] = []

    def create(name: str) -> Callable[[], None]:
        return lambda: made.append(make_account(fresh_org, name))

    def change_the_newest() -> None:
        change = {"Description": "changed"}
        assert fresh_org.client().request("PATCH", f"/sobjects/Account/{made[-1]}", json=change).status_code == 204

    def later() -> None:
        fresh_org.org.clock.advance(timedelta(minutes=1))

    steps = [later, create("a"), later, change_the_newest, later, create("noise")]
    assert asyncio.run(watch(fresh_org, store, "Name != 'noise'", steps)) == [1, 1]
    later()
    make_account(fresh_org, "while the triggerer is down")
    assert asyncio.run(watch(fresh_org, store, "Name != 'noise'", [])) == [1]
    assert "SELECT" not in json.dumps(store.values)


def test_a_watcher_goes_on_when_airflow_cannot_keep_what_it_saw(fresh_org: RunningOrg) -> None:
    """Airflow does not start a watcher again that ended, so the DAG would never run any more, and nobody would hear of it."""

    class Failing(Store):
        failures = {"get": 2, "set": 2}  # noqa: RUF012

        def fail(self, kind: str) -> None:
            self.failures[kind] -= 1
            if self.failures[kind] >= 0:
                raise ConnectionError("the API server does not answer")

        async def aget(self, key: str, default: Any = None) -> Any:
            self.fail("get")
            return await super().aget(key, default)

        async def aset(self, key: str, value: Any) -> None:
            self.fail("set")
            await super().aset(key, value)

    def create(name: str) -> Callable[[], None]:
        def step() -> None:
            fresh_org.org.clock.advance(timedelta(minutes=1))
            make_account(fresh_org, name)

        return step

    store = Failing()
    assert asyncio.run(watch(fresh_org, store, "Name != null", [create("a"), create("b"), create("c")])) == [1, 1, 1]
    assert len(store.values) == 1 and max(store.failures.values()) < 0
    create("while the triggerer is down")()
    assert asyncio.run(watch(fresh_org, store, "Name != null", [])) == [1]


@pytest.mark.parametrize("kept", [{"time": "x OR Id != null", "records": 1}, {"newest": "2026"}, {"time": 7}, "text"])
def test_what_no_watcher_wrote_gets_into_no_query(fresh_org: RunningOrg, kept: Any) -> None:
    store = Store()
    asyncio.run(watch(fresh_org, store, "Name != null", []))
    store.values = dict.fromkeys(store.values, kept)
    fresh_org.org.clock.advance(timedelta(minutes=1))
    assert asyncio.run(watch(fresh_org, store, "Name != null", [lambda: make_account(fresh_org, "new")])) == [1]


def test_a_watcher_of_nothing_fires_for_the_first_record(fresh_org: RunningOrg) -> None:
    create = [lambda: make_account(fresh_org, "first")]
    assert asyncio.run(watch(fresh_org, Store(), "Name = 'first'", create)) == [1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"poll_interval": 0}, "poll_interval must be a number greater than 0"),
        ({"poll_interval": "60"}, "poll_interval must be a number greater than 0, not '60'"),
        ({"sobject": ["Account"]}, "sobject must be text"),
        ({"where": ["Name != null"]}, "where must be text"),
        ({"where": "where Name != null"}, "without the word WHERE"),
    ],
)
def test_a_watcher_that_could_not_watch_is_refused(options: dict[str, Any], says: str) -> None:
    """When it is made: in the triggerer it would only go on after each failure."""
    with pytest.raises(ValueError, match=says):
        SalesforceRecordsTrigger(**{"sobject": "Account", **options})


def make_account(org: RunningOrg, name: str) -> str:
    answer = org.client().request("POST", "/sobjects/Account", json={"Name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def fresh_org(connect: Callable[..., None]) -> Any:
    """An org with records of its own, which a test may change."""
    from dataclasses import replace

    from salesforce_localorg.server import OrgServer

    from tests.conftest import CONFIG

    with LocalOrg(replace(CONFIG, counts={"Account": 20})) as org:
        org.generate()
        with OrgServer(org) as server:
            connect(server.url, {"request_timeout": 10})
            yield RunningOrg(org, server)


@pytest.mark.skipif(not versions.HAS_3_3, reason="retry policies came with Airflow 3.3")
@pytest.mark.parametrize(
    ("problem", "action", "delay"),
    [
        (errors.ApiLimitError("x"), "retry", timedelta(minutes=30)),
        (errors.ApiBudgetError("x"), "retry", timedelta(minutes=30)),
        (errors.AuthenticationError("x"), "fail", None),
        (errors.BulkUnsupportedError("x"), "fail", None),
        (errors.ResultsExpiredError("x"), "retry", timedelta(seconds=10)),
        (errors.UnavailableError("x"), "retry", timedelta(minutes=5)),
        (ValueError("x"), "default", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_retry_policy(problem: Exception, action: str, delay: timedelta | None) -> None:
    decision = SALESFORCE_RETRY_POLICY.evaluate(problem, 1, 3)
    assert (decision.action.value, decision.retry_delay) == (action, delay)
    assert type(SALESFORCE_RETRY_POLICY).deserialize(SALESFORCE_RETRY_POLICY.serialize())


def test_every_error_class_that_is_permanent_fails_at_once_by_the_policy() -> None:
    from airflow_sfcc.retry_policy import _RULES

    by_action = {action: names for names, action, _, _ in _RULES if action == "fail"}
    stops = tuple(getattr(errors, name) for name in by_action["fail"])
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SfccError)]
    assert {kind for kind in kinds if kind.permanent} == {kind for kind in kinds if issubclass(kind, stops)}


def test_before_3_3_operators_take_the_policy_and_leave_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(versions, "HAS_3_3", False)
    versions._said.clear()
    for number in range(2):
        SalesforceExtractOperator(task_id=f"e{number}", sobject="Account", destination="/x", retry_policy=None)
    assert [record.message for record in caplog.records if "retry_policy" in record.message] == [
        f"retry_policy needs Airflow 3.3, this is {INSTALLED}: the task's own retry_delay holds."
    ]
