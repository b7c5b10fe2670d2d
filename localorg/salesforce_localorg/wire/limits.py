"""Limits, the usage header, and record counts."""

from __future__ import annotations

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, request_limit_exceeded

KILOBYTES_PER_MEGABYTE = 1024
BATCHES_SINCE = 49.0  # until then the limit of Bulk API 1.0 was called DailyBulkApiRequests


def limits(call: ApiCall) -> Answer:
    """GET /limits"""
    _check_permission(call)
    org = call.org
    config = org.config
    bulk_batches = "DailyBulkApiBatches" if float(call.api_version) >= BATCHES_SINCE else "DailyBulkApiRequests"
    megabytes = config.daily_bulk_result_kilobytes // KILOBYTES_PER_MEGABYTE
    used_megabytes = org.usage.bulk_result_kilobytes.total() // KILOBYTES_PER_MEGABYTE
    return JsonAnswer(
        payload={
            "DailyApiRequests": _limit(config.daily_api_requests, org.usage.api_requests.total()),
            bulk_batches: _limit(15_000, 0),
            "DailyBulkV2QueryFileStorageMB": _limit(megabytes, used_megabytes),
            "DailyBulkV2QueryJobs": _limit(config.daily_bulk_query_jobs, org.usage.bulk_query_jobs.total()),
        }
    )


def _limit(maximum: int, used: int) -> dict[str, int]:
    return {"Max": maximum, "Remaining": max(0, maximum - used)}


def record_count(call: ApiCall) -> Answer:
    """GET /limits/recordCount?sObjects=A,B; without the parameter, every object. Unknown names are left out"""
    _check_permission(call)
    asked = call.query.get("sObjects")
    names = asked.split(",") if asked else [each.name for each in call.org.schema]
    viewer = call.org.viewer
    found = [call.org.schema.sobject(name.strip()) for name in names]
    counts = [
        {"count": call.org.records.count(each.name), "name": each.name}
        for each in found
        if each is not None and viewer.sees_object(each.name)
    ]
    return JsonAnswer(payload={"sObjects": counts})


def _check_permission(call: ApiCall) -> None:
    if "ViewSetup" not in call.org.permissions:
        raise ApiError(
            403, "INSUFFICIENT_ACCESS", "insufficient access rights: the user needs View Setup and Configuration"
        )


def spend_api_request(org: LocalOrg) -> None:
    """Count one API request.

    Raises ApiError 403 REQUEST_LIMIT_EXCEEDED when the last 24 hours hold as many as the org may make.
    """
    if not org.usage.api_requests.add_within(org.config.daily_api_requests):
        raise request_limit_exceeded()


def limit_info(org: LocalOrg) -> str:
    """The Sforce-Limit-Info header, in the shape for orgs or the longer one that names the app."""
    used, maximum, app = org.usage.api_requests.total(), org.config.daily_api_requests, org.config.limit_info_app
    usage = f"api-usage={used}/{maximum}"
    return usage if app is None else f"{usage}; per-app-api-usage={used}/{maximum}(appName={app})"
