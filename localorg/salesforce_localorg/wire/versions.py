"""API versions: the list, and the resources of one."""

from __future__ import annotations

import re

from salesforce_localorg.org import OrgConfig
from salesforce_localorg.wire.answers import Answer, JsonAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.errors import ApiError, not_found
from salesforce_localorg.wire.oauth import identity_url

SEASONS = ("Winter", "Spring", "Summer")
FIRST_WINTER = 41  # v41.0 was Winter '18
RESOURCES = (
    "composite",
    "jobs",
    "limits",
    "parameterizedSearch",
    "query",
    "queryAll",
    "recent",
    "search",
    "sobjects",
)
DEPRECATED = '299 - "This API is deprecated and will be removed in the future. Please see the API End-of-Life policy."'


def release(number: int) -> str:
    """The release that brought an API version: 67 -> `Summer '26`."""
    years, season = divmod(number - FIRST_WINTER, 3)
    return f"{SEASONS[season]} '{18 + years:02d}"


def list_versions(call: ApiCall) -> Answer:
    """GET /services/data"""
    config = call.org.config
    return JsonAnswer(
        payload=[
            {"label": release(number), "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
            for number in range(config.oldest_version, config.newest_version + 1)
        ]
    )


def list_resources(call: ApiCall) -> Answer:
    """GET /services/data/vXX.X: the resources, and where the caller's identity is told"""
    resources = {name: f"{call.data_path}/{name}" for name in RESOURCES}
    if call.session is not None:
        resources["identity"] = identity_url(call.org, call.session)
    return JsonAnswer(payload=resources)


def check_version(config: OrgConfig, version: str, since: int) -> None:
    """Refuse a version that does not exist (404), no longer exists (410), or does not have the resource yet (404).

    Raises ApiError.
    """
    if re.fullmatch(r"[1-9]\d{0,3}\.0", version) is None:
        raise not_found()
    number = int(version[:-2])
    if 1 < number < config.retired_below:
        raise ApiError(410, "UNSUPPORTED_API_VERSION", "The requested API version has been retired; use a newer one.")
    if not config.retired_below <= number <= config.newest_version or number < since:
        raise not_found()


def is_deprecated(config: OrgConfig, version: str) -> bool:
    """Whether the version still answers but is no longer listed."""
    return int(version[:-2]) < config.oldest_version
