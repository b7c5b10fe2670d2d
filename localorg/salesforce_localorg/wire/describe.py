"""What the org says about its objects: describeGlobal, describe, and the short form."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from salesforce_localorg.schema import Viewer
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall


def describe_global(call: ApiCall) -> Answer:
    """GET /sobjects"""
    if _is_unchanged(call):
        return _unchanged(call)
    viewer = call.org.viewer
    sobjects = [each.to_brief(call.api_version) for each in call.org.schema if viewer.sees_object(each.name)]
    return _dated(call, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects})


def basic_information(call: ApiCall) -> Answer:
    """GET /sobjects/X"""
    return JsonAnswer(payload={"objectDescribe": call.sobject().to_brief(call.api_version), "recentItems": []})


def describe(call: ApiCall) -> Answer:
    """GET /sobjects/X/describe"""
    sobject = call.sobject()
    if _is_unchanged(call):
        return _unchanged(call)
    return _dated(call, _visible(sobject.to_describe(call.api_version), call.org.viewer))


def _visible(described: dict[str, Any], viewer: Viewer) -> dict[str, Any]:
    """A describe without what field-level security and object access hide from the user."""
    fields = [each for each in described["fields"] if viewer.sees_field(described["name"], each["name"])]
    children = [each for each in described["childRelationships"] if viewer.sees_object(each["childSObject"])]
    return {**described, "fields": fields, "childRelationships": children}


def _is_unchanged(call: ApiCall) -> bool:
    asked = call.headers.get("if-modified-since")
    if asked is None:
        return False
    try:
        since = parsedate_to_datetime(asked)
    except (ValueError, TypeError, IndexError, OverflowError):
        return False  # RFC 9110: a date that cannot be read is ignored
    if since.tzinfo is None:
        since = since.replace(tzinfo=timezone.utc)
    return call.org.schema_changed <= since


def _unchanged(call: ApiCall) -> Answer:
    return Answer(304, {"Last-Modified": _http_date(call.org.schema_changed)})


def _dated(call: ApiCall, payload: dict[str, Any]) -> Answer:
    return JsonAnswer(payload=payload, headers={"Last-Modified": _http_date(call.org.schema_changed)})


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(timezone.utc), usegmt=True)
