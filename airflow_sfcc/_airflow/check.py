"""`airflow-sfcc check`: each Setup step of docs/salesforce-setup.md as passed, failed, warning or not checkable, with the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_sfcc.errors import (
    ACCESS,
    CERTIFICATE,
    CONSUMER_KEY_AND_SECRET,
    ENABLE_FLOW,
    IP_RESTRICTIONS,
    MY_DOMAIN,
    PERMITTED_USERS,
    RUN_AS_USER,
    SETUP_GUIDE,
    AccessError,
    ApiLimitError,
    AuthenticationError,
    NotFoundError,
    QueryError,
    QueryTimeoutError,
    SetupStep,
    UnavailableError,
    UnexpectedResponseError,
)
from airflow_sfcc.extract.plan.cursor import CURSOR_FIELDS
from airflow_sfcc.extract.plan.quirks import filter_needed, why_not_whole
from airflow_sfcc.redaction import printable
from airflow_sfcc.salesforce import SalesforceClient, SalesforceError
from airflow_sfcc.salesforce.jwt_bearer import KeyCredentials
from airflow_sfcc.salesforce.responses import json_object_of
from airflow_sfcc.wording import plural

Verdict = Literal["passed", "failed", "warning", "not checkable"]
"""A warning is a step that extracts run without, so it does not fail the check."""

LOGIN_STEPS = (MY_DOMAIN, CONSUMER_KEY_AND_SECRET, ENABLE_FLOW, RUN_AS_USER, PERMITTED_USERS, IP_RESTRICTIONS)
"""Steps that a token proves, in the order in which Salesforce looks at them (as far as that is known)."""

JWT_STEPS = (MY_DOMAIN, CONSUMER_KEY_AND_SECRET, CERTIFICATE, RUN_AS_USER, PERMITTED_USERS, IP_RESTRICTIONS)
"""The same for a connection that logs in with a private key."""

FEWEST_SEEN = 0.9
"""A user who counts less of an object's rows than this share probably lacks View All Records. The org's own count is
cached, so a little less means nothing."""

_MAY_BE_NEW = 10
"""So many rows of a small object may have been deleted since the org counted."""


@dataclass(frozen=True)
class Finding:
    """What one check found: a name, the verdict, what was seen, and what to do unless it passed."""

    name: str
    verdict: Verdict
    seen: str
    fix: str = ""


def check_org(connect: Callable[[], SalesforceClient], sobjects: Sequence[str] = ()) -> Iterator[Finding]:
    """Check a connection from its fields to its objects; `connect` makes the client, and may find its settings wrong."""
    steps: Sequence[SetupStep] = LOGIN_STEPS
    try:
        client = connect()
        steps = _login_steps(client)
        instance = client.instance
    except SalesforceError as problem:
        yield from _refused_login(problem, JWT_STEPS if problem.step is CERTIFICATE else steps)
        return
    yield from (Finding(_title(step), "passed", _proof(step, client)) for step in steps)
    try:
        version = client.api_version
        found = Finding("API version", *_version(client, version))
    except SalesforceError as problem:
        yield _failure("API version", problem)
        return
    yield found
    if found.verdict == "failed":
        yield Finding("API Enabled", "not checkable", "the org answers no call of that version")
        return
    # The first metered call: an error that concerns all calls shows here, and makes all further ones pointless.
    try:
        client.describe_global()
    except ApiLimitError as problem:
        yield Finding("API Enabled", "not checkable", "the org answers no API call for now")
        yield _failure("API calls left", problem)
        return
    except SalesforceError as problem:
        yield _failure("API Enabled", problem)
        return
    yield Finding("API Enabled", "passed", f"{instance} answers API calls")
    yield _calls_left(client)
    yield from _as_far_as_possible("Permissions", _permissions(client))
    yield from _as_far_as_possible("Bulk API 2.0", _bulk_jobs(client))
    yield from _as_far_as_possible("Bulk jobs left", _bulk_jobs_left(client))
    for sobject in sobjects:
        yield from _as_far_as_possible(sobject, _object(client, sobject))


def _as_far_as_possible(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings up to a response that is not Salesforce's; the checks after these go on."""
    try:
        yield from findings
    except (UnexpectedResponseError, UnavailableError) as problem:
        yield Finding(name, "not checkable", problem.message)
    except SalesforceError as problem:
        yield _failure(name, problem)


def _login_steps(client: SalesforceClient) -> Sequence[SetupStep]:
    return JWT_STEPS if isinstance(client.auth.tokens.credentials, KeyCredentials) else LOGIN_STEPS


def _title(step: SetupStep) -> str:
    return step.name[0].upper() + step.name[1:]


def _proof(step: SetupStep, client: SalesforceClient) -> str:
    if step is MY_DOMAIN:
        return str(client.instance)
    if step is RUN_AS_USER:
        return f"user {client.auth.token.user_id or 'unknown'}"
    return "a token was given"


def _refused_login(problem: SalesforceError, steps: Sequence[SetupStep]) -> Iterator[Finding]:
    """The step that the error names has failed; whether the others are done, only a token could show."""
    failed = problem.step if problem.step in steps else None
    if failed is None:
        yield _failure("Token", problem)
    reached_org = isinstance(problem, AuthenticationError) and failed is not MY_DOMAIN
    for step in steps:
        if step is failed:
            yield _failure(_title(step), problem)
        elif step is MY_DOMAIN and reached_org:
            yield Finding(_title(step), "passed", "its token endpoint answers")
        else:
            yield Finding(_title(step), "not checkable", "there is no token yet")
    yield Finding("API Enabled", "not checkable", "there is no token yet")


def _failure(name: str, problem: SalesforceError) -> Finding:
    anchor = f"{SETUP_GUIDE}#{problem.step.anchor}" if problem.step else ""
    return Finding(name, "failed", problem.message, f"See {anchor}" if anchor else "")


def _version(client: SalesforceClient, version: str) -> tuple[Verdict, str, str]:
    offered = client.versions()
    newest = max(offered, key=float)
    if version not in offered:
        return "failed", f"{version}, which the org does not offer", f"Set api_version to {newest}, or leave it empty."
    return "passed", f"{version} (the org offers up to {newest})", ""


def _permissions(client: SalesforceClient) -> Iterator[Finding]:
    """Who the Run As user is, and what it may do.

    UserPermissionAccess holds the calling user's own permissions, from profile and permission sets alike, and needs no
    right of its own (Object Reference; API 41.0 on).
    """
    yield _who(client)
    names = ("ApiUserOnly", "ViewSetup")
    fields = ", ".join(f"Permissions{name}" for name in names)
    try:
        (record,) = client.query(f"SELECT {fields} FROM UserPermissionAccess LIMIT 1")
        only, view_setup = (bool(record[f"Permissions{name}"]) for name in names)
    except (QueryError, AccessError, NotFoundError, KeyError, ValueError):
        why = "the user's permissions could not be read"
        yield Finding("API Only User", "not checkable", why)
        yield Finding("View Setup and Configuration", "not checkable", why)
        return
    yield _verdict(
        "API Only User",
        only,
        "the Run As user cannot log in with a browser",
        "the Run As user could log in with a browser",
        f"Give it the permission API Only User, or shut that door in another way: {SETUP_GUIDE}#without-api-only-user",
    )
    yield _verdict(
        "View Setup and Configuration",
        view_setup,
        "limits and record counts can be read",
        "limits and record counts cannot be read",
        otherwise="warning",
        fix=f"Extracts run without it, but nobody sees how many calls and Bulk jobs are left: {SETUP_GUIDE}#api-enabled",
    )


def _verdict(name: str, holds: bool, good: str, bad: str, fix: str, otherwise: Verdict = "failed") -> Finding:
    return Finding(name, "passed", good) if holds else Finding(name, otherwise, bad, fix)


def _who(client: SalesforceClient) -> Finding:
    name = "Run As user's profile"
    try:
        found = list(
            client.query(
                "SELECT Username, Profile.Name FROM User WHERE Id = :id", {"id": client.auth.token.user_id or ""}
            )
        )
    except (QueryError, AccessError, NotFoundError):
        found = []
    if not found:
        return Finding(name, "not checkable", "the user may not read its own User record")
    profile = found[0].get("Profile")
    of_profile = profile.get("Name") if isinstance(profile, dict) else None
    return Finding(name, "passed", printable(f"{found[0].get('Username')}, profile {of_profile or 'unknown'}"))


def _calls_left(client: SalesforceClient) -> Finding:
    usage = client.usage
    if usage.left is None or usage.limit is None or usage.used is None:
        return Finding("API calls left", "not checkable", "the org does not tell")
    seen = f"{usage.left:,} of {usage.limit:,} in 24 hours"
    if usage.left == 0:
        return Finding("API calls left", "failed", seen, "Wait, or ask Salesforce for more calls.")
    if usage.budget_percent is not None:
        seen += f"; extracts stop at {usage.budget_percent:g} %"
        if usage.used >= usage.limit * usage.budget_percent / 100:
            return Finding(
                "API calls left", "failed", seen, "Wait, or raise api_call_budget in the connection's extra."
            )
    return Finding("API calls left", "passed", seen)


def _bulk_jobs(client: SalesforceClient) -> Iterator[Finding]:
    body = json_object_of(client.request("GET", "/jobs/query", params={"jobType": "V2Query"}))
    if "records" not in body:
        raise UnexpectedResponseError("The list of query jobs is not as Salesforce sends it.")
    yield Finding("Bulk API 2.0", "passed", "query jobs can be listed")


def _bulk_jobs_left(client: SalesforceClient) -> Iterator[Finding]:
    name = "Bulk jobs left"
    try:
        jobs = client.limits()["DailyBulkV2QueryJobs"]
        left, most = int(jobs["Remaining"]), int(jobs["Max"])
    except (AccessError, QueryError, NotFoundError, KeyError, TypeError, ValueError, OverflowError):
        yield Finding(name, "not checkable", "the user may not read the org's limits, or they do not tell")
        return
    fix = "" if left else "Wait, or use api='rest' until then."
    yield Finding(name, "passed" if left else "failed", f"{left:,} of {most:,} in 24 hours", fix)


def _object(client: SalesforceClient, sobject: str) -> Iterator[Finding]:
    try:
        describe = client.describe(sobject)
    except NotFoundError as problem:
        yield Finding(sobject, "failed", problem.message, f"Grant the user Read on it: {SETUP_GUIDE}#{ACCESS.anchor}")
        return
    except SalesforceError as problem:
        yield _failure(sobject, problem)
        return
    fields = [str(field["name"]) for field in describe["fields"]]
    cursor = next((name for name in CURSOR_FIELDS if name in fields), None)
    by = f"cursor {cursor}" if cursor else "no cursor: it can only be extracted in full"
    readable = f"{plural(len(fields), 'field')}, {by}"
    if describe.get("queryable") is False:
        yield Finding(sobject, "failed", "Salesforce does not let it be queried", "It cannot be extracted.")
        return
    try:
        rows = client.count(f"SELECT COUNT() FROM {describe['name']}")
    except (QueryError, QueryTimeoutError) as problem:
        # Extracts may read what cannot be counted: with a filter, or by a Bulk job, which has more time.
        wanted = filter_needed(sobject) or why_not_whole(sobject) or problem.message
        yield Finding(sobject, "warning", f"{readable}; its rows could not be counted", wanted)
        return
    except SalesforceError as problem:
        yield _failure(sobject, problem)
        return
    yield Finding(sobject, "passed", f"{plural(rows, 'row')}, {readable}")
    yield from _all_rows(client, sobject, rows)


def _all_rows(client: SalesforceClient, sobject: str, rows: int) -> Iterator[Finding]:
    """Rows that are not shared with the user are silently missing: compare with the org's own count."""
    name = f"{sobject}, View All Records"
    try:
        whole = client.record_count(sobject)
    except SalesforceError:
        yield Finding(name, "not checkable", "the org's own count cannot be read")
        return
    yield _verdict(
        name,
        rows >= whole * FEWEST_SEEN,
        f"the org counts about {plural(whole, 'row')}",
        f"the org counts about {plural(whole, 'row')}, the user sees {rows:,}",
        f"Grant View All Records on it: {SETUP_GUIDE}#{ACCESS.anchor}",
        otherwise="warning" if rows and whole - rows <= _MAY_BE_NEW else "failed",
    )


def lines(findings: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """Each finding with its text: one line, and the fix below it."""
    for finding in findings:
        fix = f"\n{'':<15}{finding.fix}" if finding.fix else ""
        yield finding, f"{finding.verdict:<15}{finding.name}: {finding.seen}{fix}"
