"""What the org says about its objects: describeGlobal, describe, and the short form."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from salesforce_localorg.schema import Viewer
from salesforce_localorg.wire.answers import Answer, JsonAnswer, accepts_gzip
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import not_found


def describe_global(call: ApiCall) -> Answer:
    """GET /sobjects"""
    if _is_unchanged(call):
        return _unchanged(call)
    viewer = call.org.viewer
    sobjects = [each.to_brief(call.api_version) for each in call.org.schema if viewer.sees_object(each.name)]
    return _dated(call, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects})


def not_described(call: ApiCall) -> Answer:
    """GET /sobjects/X/describe/…: layouts and the like, which the local org does not have"""
    raise not_found()


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
    known = call.headers.get("if-none-match")
    if known is not None:
        tags = {each.strip().removeprefix("W/") for each in known.split(",")}
        return "*" in tags or bool({_tag(call), _tag(call, packed=True)} & tags)
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
    return Answer(304, _validators(call))


def _dated(call: ApiCall, payload: dict[str, Any]) -> Answer:
    return JsonAnswer(payload=payload, headers=_validators(call))


def _validators(call: ApiCall) -> dict[str, str]:
    """What a later call may make its condition (recordings of restforce-db; REST API Developer Guide, "ETag")."""
    packed = accepts_gzip(call.headers.get("accept-encoding", ""))
    return {"Last-Modified": _http_date(call.org.schema_changed), "ETag": _tag(call, packed=packed)}


def _tag(call: ApiCall, *, packed: bool = False) -> str:
    described = f"{call.path.lower()} {call.org.schema_changed.isoformat()}"
    return f'"{hashlib.sha256(described.encode()).hexdigest()[:8]}{"-gzip" if packed else ""}"'


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(timezone.utc), usegmt=True)
