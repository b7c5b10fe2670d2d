"""One call to the API as a handler sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.datastructures import Headers, QueryParams

from salesforce_localorg.faults import Fault
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.records import Transaction
from salesforce_localorg.schema import SObject
from salesforce_localorg.sessions import Session
from salesforce_localorg.wire.answers import Answer
from salesforce_localorg.wire.errors import ApiError, not_found


class PerformWithin(Protocol):
    """Makes a further call for the same caller, as batches do.

    It counts as an API request where `metered`. `headers` go before the caller's own.
    """

    def __call__(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        *,
        metered: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Answer: ...


@dataclass(frozen=True)
class ApiCall:
    """`params` come from the path, `query` from behind the question mark. `base_url` is scheme and host as the caller
    wrote them.

    `session` is None on open routes; `version` ("67.0") is None outside `/services/data/vXX.X`.
    """

    org: LocalOrg
    method: str
    path: str
    params: Mapping[str, str]
    query: QueryParams
    headers: Headers
    body: bytes
    base_url: str
    perform_within: PerformWithin
    session: Session | None = None
    version: str | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def data_path(self) -> str:
        """`/services/data/v67.0` of this call."""
        return f"/services/data/v{self.version}"

    @property
    def api_version(self) -> str:
        if self.version is None:
            raise RuntimeError("This route has no API version in its path.")
        return self.version

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises ApiError 415 when the caller says that it is something else, 400 JSON_PARSER_ERROR when it is none.
        """
        media_type = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json":
            message = f"Content-Type header specified in HTTP request is not supported: {media_type}"
            raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", message)
        if not self.body.strip():
            message = "The HTTP entity body is required, but this request has no entity body."
            raise ApiError(400, "JSON_PARSER_ERROR", message)
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "JSON_PARSER_ERROR", f"The request body is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise ApiError(400, "JSON_PARSER_ERROR", "The request body must be a JSON object.")
        return value

    @contextmanager
    def changing(self) -> Iterator[Transaction]:
        """What changes are written down in; they are made at the end."""
        with self.org.records.transaction(user_id=self.org.run_as_user_id) as change:
            yield change

    def sobject(self) -> SObject:
        """The object that the path's `sobject` names.

        Raises ApiError 404 when it does not exist for this user.
        """
        sobject = self.find_sobject(self.params["sobject"])
        if sobject is None:
            raise not_found()
        return sobject

    def find_sobject(self, name: str) -> SObject | None:
        """The object of that name, None when it does not exist for this user."""
        sobject = self.org.schema.sobject(name)
        return sobject if sobject is not None and self.org.viewer.sees_object(sobject.name) else None
