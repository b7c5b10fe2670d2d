"""The org's own knobs over HTTP, below `/_org/`: faults, clock, calls, sessions, settings. Not part of Salesforce."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError
from salesforce_localorg.wire.oauth import LOGIN_REFUSALS
from salesforce_localorg.wire.permissions import PERMISSIONS

FIRST_YEAR, LAST_YEAR = 2000, 2100  # generous, and far from where dates end


def list_faults(call: ApiCall) -> Answer:
    """GET /_org/faults"""
    return JsonAnswer(payload={"faults": [each.to_json() for each in call.org.faults.all()]})


def add_fault(call: ApiCall) -> Answer:
    """POST /_org/faults: the fields of Fault as a JSON object"""
    try:
        fault = Fault.from_json(json_body(call))
    except ValueError as error:
        raise refused(str(error)) from None
    return JsonAnswer(201, {}, call.org.faults.add(fault).to_json())


def clear_faults(call: ApiCall) -> Answer:
    """DELETE /_org/faults, or one of them with ?id="""
    asked = call.query.get("id")
    if asked is None:
        call.org.faults.clear()
        return Answer(204)
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and call.org.faults.remove(int(asked))):
        raise ApiError(404, "NOT_FOUND", f"There is no fault {asked!r}; GET /_org/faults lists them.")
    return Answer(204)


def read_clock(call: ApiCall) -> Answer:
    """GET /_org/clock"""
    return JsonAnswer(payload={"now": call.org.clock.now().isoformat()})


def move_clock(call: ApiCall) -> Answer:
    """POST /_org/clock with {"advance_seconds": n} or {"set": "2026-11-23T02:00:00+00:00"}"""
    body = json_body(call)
    try:
        when = _time_of(body, call.org.clock.now())
    except (ValueError, TypeError, OverflowError) as error:
        raise refused(f"The clock could not be moved: {error}") from None
    if when.tzinfo is None or not FIRST_YEAR <= when.year <= LAST_YEAR:
        raise refused(f"The clock takes a timestamp with a timezone in the years {FIRST_YEAR} to {LAST_YEAR}.")
    call.org.clock.set(when)
    return read_clock(call)


def _time_of(body: dict[str, Any], now: datetime) -> datetime:
    if set(body) == {"advance_seconds"}:
        return now + timedelta(seconds=float(body["advance_seconds"]))
    if set(body) == {"set"}:
        return datetime.fromisoformat(str(body["set"]).replace("Z", "+00:00"))
    raise ValueError('send {"advance_seconds": seconds} or {"set": "time with a timezone"}')


def list_calls(call: ApiCall) -> Answer:
    """GET /_org/calls: the recent calls, oldest first, and the counts per route"""
    calls = call.org.calls
    return JsonAnswer(payload={"counts": calls.counts, "calls": [each.to_json() for each in calls]})


def clear_calls(call: ApiCall) -> Answer:
    """DELETE /_org/calls"""
    call.org.calls.clear()
    return Answer(204)


def list_tokens(call: ApiCall) -> Answer:
    """GET /_org/sessions: every token that was issued since the org started, ended ones too, oldest first"""
    return JsonAnswer(payload={"issued": call.org.sessions.issued})


def expire_sessions(call: ApiCall) -> Answer:
    """DELETE /_org/sessions: every token is dead at once"""
    return JsonAnswer(payload={"ended": call.org.expire_sessions()})


def read_settings(call: ApiCall) -> Answer:
    """GET /_org/settings"""
    return JsonAnswer(payload=_settings(call.org))


def change_settings(call: ApiCall) -> Answer:
    """PATCH /_org/settings: any of the keys that GET shows"""
    org = call.org
    body = json_body(call)
    unknown = sorted(set(body) - set(_settings(org)))
    if unknown:
        raise refused(f"There is no setting {unknown[0]!r}; GET /_org/settings shows them all.")
    changed = {**_settings(org), **body}
    run_as, enabled, refusal = changed["run_as"], changed["client_credentials_enabled"], changed["login_refusal"]
    if not (run_as is None or isinstance(run_as, str)) or not isinstance(enabled, bool):
        raise refused("run_as is a user name or null; client_credentials_enabled is true or false.")
    if refusal is not None and not (isinstance(refusal, str) and refusal in LOGIN_REFUSALS):
        raise refused(f"login_refusal is null or one of {', '.join(LOGIN_REFUSALS)}.")
    if not isinstance(changed["bulk_enabled"], bool):
        raise refused("bulk_enabled is true or false.")
    permissions = set(_names(changed["permissions"], "permissions", "ApiEnabled"))
    if not permissions <= set(PERMISSIONS):
        raise refused(f"permissions are some of {', '.join(PERMISSIONS)}.")
    hidden_fields = _names(changed["hidden_fields"], "hidden_fields", "Account.Phone")
    pre_authorised = _names(changed["pre_authorised"], "pre_authorised", "user1@localorg.example")
    org.hidden_objects = set(_names(changed["hidden_objects"], "hidden_objects", "Lead"))
    org.hidden_fields = {(sobject, name) for sobject, _, name in (each.partition(".") for each in hidden_fields)}
    org.run_as, org.client_credentials_enabled, org.login_refusal = run_as, enabled, refusal
    org.pre_authorised = set(pre_authorised)
    org.permissions, org.bulk_enabled = permissions, changed["bulk_enabled"]
    return JsonAnswer(payload=_settings(org))


def _settings(org: LocalOrg) -> dict[str, Any]:
    return {
        "run_as": org.run_as,
        "client_credentials_enabled": org.client_credentials_enabled,
        "login_refusal": org.login_refusal,
        "pre_authorised": sorted(org.pre_authorised),
        "hidden_fields": sorted(f"{sobject}.{name}" for sobject, name in org.hidden_fields),
        "hidden_objects": sorted(org.hidden_objects),
        "permissions": sorted(org.permissions),
        "bulk_enabled": org.bulk_enabled,
    }


def _names(value: Any, setting: str, example: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise refused(f"{setting} is a list of names such as {example!r}.")
    return value


def json_body(call: ApiCall) -> dict[str, Any]:
    """The body, which must say that it is JSON: pages of other sites cannot send that type to the loopback unasked."""
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "Send a JSON object with Content-Type: application/json.")
    return call.json_object()


def refused(message: str) -> ApiError:
    return ApiError(400, "INVALID_INPUT", message)
