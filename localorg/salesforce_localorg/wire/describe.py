"""What the org says about its objects: describeGlobal, describe, and the short form."""

from __future__ import annotations

import hashlib
from typing import Any

from salesforce_localorg.schema import SObject, Viewer
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.conditions import State, unmet
from salesforce_localorg.wire.errors import not_found
from salesforce_localorg.wire.oauth import instance_url


def describe_global(call: ApiCall) -> Answer:
    """GET /sobjects"""
    state = _state(call)
    if (early := unmet(call, state)) is not None:
        return early
    viewer = call.org.viewer
    sobjects = [each.to_brief(call.api_version) for each in call.org.schema if viewer.sees_object(each.name)]
    payload = {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects}
    return JsonAnswer(payload=payload, headers=state.headers(call))


def not_described(call: ApiCall) -> Answer:
    """GET /sobjects/X/describe/…: layouts and the like, which the local org does not have"""
    raise not_found()


def basic_information(call: ApiCall) -> Answer:
    """GET /sobjects/X"""
    return JsonAnswer(payload={"objectDescribe": call.sobject().to_brief(call.api_version), "recentItems": []})


def describe(call: ApiCall) -> Answer:
    """GET /sobjects/X/describe"""
    sobject = call.sobject()
    state = _state(call)
    if (early := unmet(call, state)) is not None:
        return early
    described = sobject.to_describe(call.api_version)
    payload = _visible({**described, "urls": _with_pages(call, sobject, described["urls"])}, call.org.viewer)
    return JsonAnswer(payload=payload, headers=state.headers(call))


def _visible(described: dict[str, Any], viewer: Viewer) -> dict[str, Any]:
    """A describe without what field-level security and object access hide from the user."""
    fields = [each for each in described["fields"] if viewer.sees_field(described["name"], each["name"])]
    children = [each for each in described["childRelationships"] if viewer.sees_object(each["childSObject"])]
    return {**described, "fields": fields, "childRelationships": children}


def _with_pages(call: ApiCall, sobject: SObject, urls: dict[str, str]) -> dict[str, str]:
    """The URLs of an object that people see, with those of its pages, as recorded describes have them."""
    if "layouts" not in urls or "uiNewRecord" in urls or sobject.key_prefix is None:
        return urls
    base = instance_url(call.org, call.base_url)
    pages = {
        "uiDetailTemplate": f"{base}/{{ID}}",
        "uiEditTemplate": f"{base}/{{ID}}/e",
        "uiNewRecord": f"{base}/{sobject.key_prefix}/e",
    }
    return {**urls, **pages}


def _state(call: ApiCall) -> State:
    changed = call.org.schema_changed
    described = f"{call.path.lower()} {changed.isoformat()}"
    return State(changed, hashlib.sha256(described.encode()).hexdigest()[:8])
