"""Limits, the usage header, and record counts."""

from __future__ import annotations

from collections.abc import Mapping

from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, request_limit_exceeded

KILOBYTES_PER_MEGABYTE = 1024
# Limits of what the local org does not have: nothing is ever spent. Names: REST API Developer Guide, "List Org Limits";
# maxima: those of an Enterprise Edition org.
UNTOUCHED: Mapping[str, int] = {
    "ActiveScratchOrgs": 40,
    "AnalyticsExternalDataSizeMB": 40_960,
    "ConcurrentAsyncGetReportInstances": 200,
    "ConcurrentEinsteinDataInsightsStoryCreation": 5,
    "ConcurrentEinsteinDiscoveryStoryCreation": 2,
    "ConcurrentSyncReportRuns": 20,
    "DailyAnalyticsDataflowJobExecutions": 60,
    "DailyAnalyticsUploadedFilesSizeMB": 51_200,
    "DailyAsyncApexExecutions": 250_000,
    "DailyDurableGenericStreamingApiEvents": 100_000,
    "DailyDurableStreamingApiEvents": 100_000,
    "DailyEinsteinDataInsightsStoryCreation": 1_000,
    "DailyEinsteinDiscoveryPredictAPICalls": 50_000,
    "DailyEinsteinDiscoveryStoryCreation": 100,
    "DailyFunctionsApiCallLimit": 235_000,
    "DailyGenericStreamingApiEvents": 10_000,
    "DailyScratchOrgs": 80,
    "DailyStandardVolumePlatformEvents": 10_000,
    "DailyStreamingApiEvents": 100_000,
    "DailyWorkflowEmails": 195,
    "DataStorageMB": 10_240,
    "DurableStreamingApiConcurrentClients": 1_000,
    "FileStorageMB": 10_240,
    "HourlyAsyncReportRuns": 1_200,
    "HourlyDashboardRefreshes": 200,
    "HourlyDashboardResults": 5_000,
    "HourlyDashboardStatuses": 999_999_999,
    "HourlyLongTermIdMapping": 100_000,
    "HourlyManagedContentPublicRequests": 50_000,
    "HourlyODataCallout": 1_000,
    "HourlyPublishedPlatformEvents": 50_000,
    "HourlyPublishedStandardVolumePlatformEvents": 1_000,
    "HourlyShortTermIdMapping": 100_000,
    "HourlySyncReportRuns": 500,
    "HourlyTimeBasedWorkflow": 1_000,
    "MassEmail": 5_000,
    "MonthlyEinsteinDiscoveryStoryCreation": 500,
    "MonthlyPlatformEventsUsageEntitlement": 0,
    "Package2VersionCreates": 6,
    "Package2VersionCreatesWithoutValidation": 500,
    "PermissionSets": 1_500,
    "PrivateConnectOutboundCalloutHourlyLimitMB": 0,
    "PublishCallbackUsageInApex": 5_242_880,
    "SingleEmail": 5_000,
    "StreamingApiConcurrentClients": 1_000,
}
DAILY_BATCHES = 15_000
BATCHES_SINCE = 49.0  # until then the limit of Bulk API 1.0 was called DailyBulkApiRequests


def limits(call: ApiCall) -> Answer:
    """GET /limits"""
    _check_permission(call)
    org = call.org
    config = org.config
    bulk_batches = "DailyBulkApiBatches" if float(call.api_version) >= BATCHES_SINCE else "DailyBulkApiRequests"
    megabytes = config.daily_bulk_result_kilobytes // KILOBYTES_PER_MEGABYTE
    used_megabytes = org.usage.bulk_result_kilobytes.total() // KILOBYTES_PER_MEGABYTE
    counted = {
        "DailyApiRequests": _limit(config.daily_api_requests, org.usage.api_requests.total()),
        bulk_batches: _limit(DAILY_BATCHES, org.usage.bulk_batches.total()),
        "DailyBulkV2QueryFileStorageMB": _limit(megabytes, used_megabytes),
        "DailyBulkV2QueryJobs": _limit(config.daily_bulk_query_jobs, org.usage.bulk_query_jobs.total()),
    }
    untouched = {name: _limit(maximum, 0) for name, maximum in UNTOUCHED.items()}
    return JsonAnswer(payload=dict(sorted({**untouched, **counted}.items())))


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
