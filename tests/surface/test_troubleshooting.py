"""Each text that docs/troubleshooting.md is looked up by is provoked in a task, and is what the person meets there.

A text of the page without an entry in PROVOKING fails; so does an entry that the page does not have.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from salesforce_localorg.faults import Fault
from salesforce_localorg.jobs import BulkTimings
from salesforce_localorg.org import LocalOrg

from airflow_sfcc import errors
from airflow_sfcc.operators import SalesforceExtractOperator, SalesforceQueryOperator, SalesforceVacuumOperator
from tests.conftest import KEY, SECRET, RunningOrg
from tests.surface.conftest import Connect

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `(\w+)` \| (yes|no) \|", PAGE, re.M)
QUOTED = [(text, kind, permanent) for texts, kind, permanent in ROWS for text in re.findall(r"`([^`]+)`", texts)]
ACCOUNTS = "SELECT Id, Name FROM Account"


@dataclass
class Trouble:
    """An org, a connection to it, and the tasks that meet what is wrong."""

    start_org: Callable[..., RunningOrg]
    connect: Connect
    context: Any
    folder: Path
    set_variable: Callable[[str, str], None]

    def begin(self, **changes: Any) -> None:
        """An org with another configuration, instead of any before it."""
        self.running = self.start_org(bulk_timings=BulkTimings(), **changes)
        self.connect_with()

    @property
    def org(self) -> LocalOrg:
        return self.running.org

    @property
    def one_too_many(self) -> int:
        return self.org.records.count("Account") + 1

    def fail(self, route: str, *, times: int | None = None, **effects: Any) -> None:
        self.running.fail(route, times=times, **effects)

    def fail_as(self, name: str) -> None:
        """A fault that the local org knows by its name, for as long as the test takes."""
        self.org.faults.add(replace(Fault.named(name), times=None))

    def connect_with(self, extra: dict[str, Any] | None = None, host: str | None = None, **changes: Any) -> None:
        settings = {"max_retries": 0, "request_timeout": 5, **(extra or {})}
        self.connect(self.running.url if host is None else host, settings, **changes)

    def query(self, soql: str = ACCOUNTS, **arguments: Any) -> Any:
        return SalesforceQueryOperator(task_id="query", soql=soql, **arguments).execute(self.context)

    def operator(self, **arguments: Any) -> SalesforceExtractOperator:
        settings: dict[str, Any] = {"sobject": "Account", "fields": ["Id", "Name"], "api": "bulk", "durable": False}
        settings |= {"destination": self.folder.as_uri(), "poll_interval": 0.02, "deferrable": False}
        return SalesforceExtractOperator(task_id="extract", **settings | arguments)

    def extract(self, **arguments: Any) -> Any:
        return self.operator(**arguments).execute(self.context)

    def incremental(self, days_ago: float = 0, *, columns: tuple[str, ...] = ("Name",), **arguments: Any) -> Any:
        """An incremental extract by a run that was due so many days ago."""
        moment = datetime.now(timezone.utc) - timedelta(days=days_ago)
        ti = SimpleNamespace(**{**vars(self.context["ti"]), "run_id": f"due {days_ago} days ago"})
        context: Any = {**self.context, "ti": ti, "dag_run": SimpleNamespace(logical_date=moment, run_after=moment)}
        fields = ["Id", "SystemModstamp", *columns]
        return self.operator(mode="incremental", fields=fields, **arguments).execute(context)

    @contextmanager
    def meanwhile(self, act: Callable[[], object], *, at: str, after: int = 0) -> Iterator[None]:
        """Does something as soon as the block has made another call of a route."""

        def act_then() -> None:
            while self.running.calls(at) <= after:
                time.sleep(0.01)
            act()

        acting = threading.Thread(target=act_then)
        acting.start()
        try:
            yield
        finally:
            acting.join(60)


@pytest.fixture
def trouble(
    start_org: Callable[..., RunningOrg],
    connect: Connect,
    context: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Trouble:
    met = Trouble(start_org, connect, context, tmp_path, monkeypatch.setenv)
    met.begin()
    return met


def refused(code: str, message: str) -> dict[str, Any]:
    return {"status": 400, "body": [{"errorCode": code, "message": message}]}


def wrong_secret(met: Trouble) -> None:
    met.connect_with(password="another-secret")
    met.query()


def token_refused_twice(met: Trouble) -> None:
    met.fail("query", status=401, body=[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])
    met.query()


def no_host(met: Trouble) -> None:
    met.connect_with(host="")
    met.query()


def no_connection(met: Trouble) -> None:
    met.query(salesforce_conn_id="no_such_connection")


def unreadable_uri(met: Trouble) -> None:
    met.set_variable("AIRFLOW_CONN_SFCC_DEFAULT", "sfcc://key:sec/ret@acme.my.salesforce.com")
    met.query()


def another_type(met: Trouble) -> None:
    met.connect_with(conn_type="http")
    met.query()


def unknown_extra(met: Trouble) -> None:
    met.connect_with({"api_budget": 80})
    met.query()


def missing_bundle(met: Trouble) -> None:
    met.connect_with({"verify": "/nowhere/ca.pem"})
    met.query()


def huge_error(met: Trouble) -> None:
    met.fail("query", status=400, body="x" * 2_000_000)
    met.query()


def odd_extra(met: Trouble) -> None:
    met.connect_with({"request_timeout": "soon"})
    met.query()


def api_disabled(met: Trouble) -> None:
    disabled = refused("API_CURRENTLY_DISABLED", "API is disabled for this User")
    met.fail("query", **{**disabled, "status": 403})
    met.query()


def bulk_off(met: Trouble) -> None:
    met.org.bulk_enabled = False
    met.extract()


def foreign_instance(met: Trouble) -> None:
    met.fail("token", set_json={"/instance_url": "https://salesforce.example.com"})
    met.query()


def redirected(met: Trouble) -> None:
    met.fail("query", redirect_to="https://salesforce.example.com/")
    met.query()


def foreign_link(met: Trouble) -> None:
    met.fail("query", set_json={"/done": False, "/nextRecordsUrl": "https://salesforce.example.com/more"})
    met.query()


def no_access(met: Trouble) -> None:
    met.fail("query", status=403, body=[{"errorCode": "INSUFFICIENT_ACCESS", "message": "insufficient access rights"}])
    met.query()


def unsupported_shape(met: Trouble) -> None:
    met.extract(sobject=None, fields=None, soql="SELECT COUNT(Id) n FROM Account GROUP BY Name")


def unsupported_object(met: Trouble) -> None:
    met.fail("job_create", **refused("INVALIDENTITY", "Entity 'Account' is not supported by the Bulk API."))
    met.extract()


def no_calls_left(met: Trouble) -> None:
    met.begin(daily_api_requests=0)
    met.query()


def no_jobs_left(met: Trouble) -> None:
    met.begin(daily_bulk_query_jobs=0)
    met.extract()


def budget_used_up(met: Trouble) -> None:
    met.connect_with({"api_call_budget": 0})
    met.extract()


def nobody_there(met: Trouble) -> None:
    met.connect_with(host="http://127.0.0.1:9")
    met.query()


def token_endpoint_down(met: Trouble) -> None:
    met.fail("token", status=503, body="<html>Down for maintenance</html>")
    met.query()


def slow_query(met: Trouble) -> None:
    met.fail_as("query_timeout")
    met.query()


def job_fails(met: Trouble) -> None:
    met.fail_as("job_fails")
    met.extract()


def torn_page(met: Trouble) -> None:
    met.fail_as("torn_page")
    met.extract()


def wrong_count(met: Trouble) -> None:
    met.fail_as("wrong_count")
    met.extract()


def html_answer(met: Trouble) -> None:
    met.fail("query", status=200, body="<html>Welcome to the guest network</html>")
    met.query()


def odd_state(met: Trouble) -> None:
    met.fail("job_poll", set_json={"/state": "Paused"})
    met.extract()


def aborted(met: Trouble) -> None:
    met.fail("job_poll", set_json={"/state": "Aborted"})
    met.extract()


def never_complete(met: Trouble) -> None:
    met.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    met.extract(timeout=0.1)


def complete_too_early(met: Trouble) -> None:
    met.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    met.fail("job_poll", times=1, set_json={"/state": "JobComplete"})
    met.extract()


def results_gone(met: Trouble) -> None:
    not_found = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
    met.fail("job_results", status=404, body=not_found)
    met.extract()


def fewer_records(met: Trouble) -> None:
    met.fail("query", set_json={"/totalSize": met.one_too_many})
    met.query()


def more_processed(met: Trouble) -> None:
    met.fail("job_poll", set_json={"/numberRecordsProcessed": met.one_too_many})
    met.extract()


def killed_in_a_download(met: Trouble) -> None:
    met.fail("job_results", stall_after=10, stall_seconds=4)
    operator = met.operator()
    with met.meanwhile(operator.on_kill, at="job_results"):
        operator.execute(met.context)


def killed_while_it_waits(met: Trouble) -> None:
    met.org.bulk_jobs.timings = BulkTimings(in_progress_seconds=3600)
    operator = met.operator()
    with met.meanwhile(operator.on_kill, at="job_poll"):
        operator.execute(met.context)


def another_condition(met: Trouble) -> None:
    met.incremental(1)
    met.incremental(where="Name != null")


def another_run_at_the_same_time(met: Trouble) -> None:
    met.incremental(2)
    asked = met.running.calls("job_results")
    met.fail("job_results", times=1, stall_after=10, stall_seconds=3)
    with met.meanwhile(lambda: met.incremental(1), at="job_results", after=asked):
        met.incremental()


def a_long_outage(met: Trouble) -> None:
    met.incremental(30, deletes="hard")
    met.incremental(deletes="hard")


def a_field_of_another_type(met: Trouble) -> None:
    def with_longer_names(describe: Any) -> Any:
        fields = describe["fields"]
        return {
            **describe,
            "fields": [{**each, "type": "textarea"} if each["name"] == "Name" else each for each in fields],
        }

    met.incremental(1)
    met.fail("describe", mutate=with_longer_names)
    met.incremental(on_schema_change="fail")


def rendered(met: Trouble, **options: str) -> None:
    """A task with templates that come out as these."""
    operator = met.operator(**dict.fromkeys(options, "{{ params.it }}"))
    for name, value in options.items():
        setattr(operator, name, value)
    operator.execute(met.context)


def several_objects(met: Trouble) -> None:
    """A destination as earlier versions let it become."""
    for days_ago, sobject in enumerate(("Account", "Contact")):
        met.incremental(days_ago, sobject=sobject, destination=(met.folder / sobject).as_uri())
        for landed in (met.folder / sobject).glob("extract=*"):
            landed.rename(met.folder / landed.name)
    SalesforceVacuumOperator(task_id="vacuum", destination=met.folder.as_uri(), keep=1).execute(met.context)


def a_field_that_vanishes(met: Trouble) -> None:
    def without_name(describe: Any) -> Any:
        return {**describe, "fields": [field for field in describe["fields"] if field["name"] != "Name"]}

    met.fail("describe", skip=1, mutate=without_name)
    met.fail(
        "query", **refused("INVALID_FIELD", "SELECT Id, Name FROM Account\nNo such column 'Name' on entity 'Account'")
    )
    met.extract(api="rest")


def a_value_too_wide(met: Trouble) -> None:
    met.fail("query", set_json={"/records/0/AnnualRevenue": 0.1234567})
    met.extract(api="rest", fields=["Id", "AnnualRevenue"], numbers="decimal")


PROVOKING: dict[str, Callable[[Trouble], Any]] = {
    "must be one of": lambda met: rendered(met, file_format="excel"),
    "nothing fills in": lambda met: rendered(met, destination="file:///data/{object}"),
    "is empty: is a variable not set": lambda met: rendered(met, destination=" "),
    "refused the login": wrong_secret,
    "The token was renewed once and refused again": token_refused_twice,
    "The connection has no": no_host,
    "in the connection's extra must be": odd_extra,
    "knows no connection": no_connection,
    "is set but unreadable": unreadable_uri,
    "nothing was sent. Name a connection of that type": another_type,
    "which is no setting of this package": unknown_extra,
    "which is no CA bundle that this machine can read": missing_bundle,
    "the limit for a response of the kind": huge_error,
    "API is disabled for this User": api_disabled,
    "Bulk API isn't enabled": bulk_off,
    "which is not a Salesforce host": foreign_instance,
    "answered with a redirect": redirected,
    "away from the verified instance": foreign_link,
    "No such column": lambda met: met.query("SELECT Nme FROM Account"),
    "unexpected token": lambda met: met.query("SELECT Id FROM Account WHERE"),
    "sObject type '…' is not supported": lambda met: met.query("SELECT Id FROM Acount"),
    "max_records is": lambda met: met.query(max_records=5),
    "The requested resource does not exist": lambda met: met.extract(sobject="Acount"),
    "insufficient access rights": no_access,
    "not supported in Bulk": unsupported_shape,
    "is not supported by the Bulk API": unsupported_object,
    "running for too long": slow_query,
    "TotalRequests Limit exceeded": no_calls_left,
    "Max bulk v2 query jobs": no_jobs_left,
    "this connection stops at": budget_used_up,
    "could not be reached": nobody_there,
    "could not give out a token": token_endpoint_down,
    "and a body that is not JSON": html_answer,
    "in a state that is not documented": odd_state,
    "failed:": job_fails,
    "was aborted in Salesforce": aborted,
    "was not complete after": never_complete,
    "is not complete yet": complete_too_early,
    "or its results are gone": results_gone,
    "and sent": fewer_records,
    "broke off": torn_page,
    "was reported to hold": wrong_count,
    "and its pages hold": more_processed,
    "The download was stopped": killed_in_a_download,
    "The task was killed while it waited": killed_while_it_waits,
    "so they cannot share it": another_condition,
    "holds extracts of several": several_objects,
    "Another run committed to this destination": another_run_at_the_same_time,
    "the org's log of them begins at": a_long_outage,
    "changed since the last extract": a_field_of_another_type,
    "there when this extract was planned": a_field_that_vanishes,
    "does not fit": a_value_too_wide,
}


@pytest.mark.parametrize(("text", "kind", "permanent"), QUOTED, ids=[text for text, *_ in QUOTED])
def test_a_text_of_the_page_is_what_the_task_fails_with(trouble: Trouble, text: str, kind: str, permanent: str) -> None:
    with pytest.raises((errors.SfccError, AirflowFailException)) as met:
        PROVOKING[text](trouble)
    told = str(met.value)
    assert re.search(re.escape(text).replace("…", ".+"), told), told
    is_permanent = isinstance(met.value, AirflowFailException)
    problem = met.value.__context__ if is_permanent else met.value
    assert (type(problem).__name__, is_permanent) == (kind, permanent == "yes"), told
    assert KEY not in told and SECRET not in told


def test_every_provoked_text_is_on_the_page() -> None:
    assert set(PROVOKING) == {text for text, *_ in QUOTED} and len(ROWS) >= 25
