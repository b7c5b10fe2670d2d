"""Refusals in Salesforce's words: REST answers an array of errors, OAuth an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHALLENGE = {"WWW-Authenticate": "Token"}


class ApiError(Exception):
    """A refused REST call.

    `[{"message", "errorCode", "fields"?}]` with this status (REST API Developer Guide, "Status Codes and Error
    Responses").
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.headers = dict(headers or {})
        self.payload: list[Any] = [{"message": message, "errorCode": code}]
        if fields is not None:
            self.payload[0]["fields"] = list(fields)


class OAuthError(Exception):
    """A refused OAuth call: `{"error", "error_description"}` (help: "OAuth Authorization Flow Errors")."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.status = status
        self.payload = {"error": error, "error_description": description}


def not_found(message: str = "The requested resource does not exist") -> ApiError:
    return ApiError(404, "NOT_FOUND", message)


def invalid_session() -> ApiError:
    return ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid", headers=CHALLENGE)


def request_limit_exceeded() -> ApiError:
    return ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def unknown_exception() -> ApiError:
    return ApiError(
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1234567890-12345 (-1234567)",
    )


class NotAllError(Exception):
    """A part failed of a request that wants all or none; takes back its transaction."""
