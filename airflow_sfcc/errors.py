"""What can go wrong between us and Salesforce, each as a sentence that says what to do next.

`permanent` tells whether trying again can help: a permanent error stays until a person changes something.
"""

from __future__ import annotations

from dataclasses import dataclass

SETUP_GUIDE = "docs/salesforce-setup.md"


@dataclass(frozen=True)
class SetupStep:
    """A step of the setup guide: its name, and its anchor in `docs/salesforce-setup.md`."""

    name: str
    anchor: str

    def __str__(self) -> str:
        return f"Setup step: {self.name} ({SETUP_GUIDE}#{self.anchor})"


CONSUMER_KEY_AND_SECRET = SetupStep("consumer key and secret", "consumer-key-and-secret")
RUN_AS_USER = SetupStep("Run As user", "run-as-user")
MY_DOMAIN = SetupStep("My Domain", "my-domain")
ENABLE_FLOW = SetupStep("Enable Client Credentials Flow", "enable-client-credentials-flow")
IP_RESTRICTIONS = SetupStep("IP restrictions", "ip-restrictions")
PERMITTED_USERS = SetupStep("permitted users", "permitted-users")
OAUTH_SCOPES = SetupStep("OAuth scopes of the app", "the-app")
API_ENABLED = SetupStep("API Enabled", "api-enabled")
ACCESS = SetupStep("object and field access", "object-and-field-access")


class SalesforceError(Exception):
    """Base of everything this package raises about Salesforce.

    `message` is a whole sentence. `step` is the setup step to look at, `status` the HTTP status and `code` Salesforce's
    error code, each None where there is none.
    """

    permanent = False

    def __init__(
        self, message: str, *, step: SetupStep | None = None, status: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, step, status, code)
        self.message = message
        self.step = step
        self.status = status
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.step}." if self.step else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.step, self.status, self.code)


def _rebuild(
    kind: type[SalesforceError], message: str, step: SetupStep | None, status: int | None, code: str | None
) -> SalesforceError:
    return kind(message, step=step, status=status, code=code)


class ConfigurationError(SalesforceError):
    """The connection, the app or the user is set up wrongly."""

    permanent = True


class AuthenticationError(ConfigurationError):
    """The token endpoint refused the credentials, or the API refused a token that is brand new."""


class UntrustedHostError(SalesforceError):
    """Something pointed outside the verified instance; nothing was sent there."""

    permanent = True


class QueryError(SalesforceError):
    """Salesforce does not accept the query: syntax, an unknown object or field, or a restriction."""

    permanent = True


class NotFoundError(SalesforceError):
    """The resource does not exist, or the Run As user may not see it."""

    permanent = True


class AccessError(SalesforceError):
    """The Run As user is not allowed to do this."""

    permanent = True


class BulkUnsupportedError(QueryError):
    """Bulk API 2.0 does not do this query; REST may."""


class QueryTimeoutError(SalesforceError):
    """Salesforce gave up on the query after its own time limit (2 minutes; salesforce-protocol.md#rest-queries)."""


class ApiLimitError(SalesforceError):
    """The org has no API calls (or Bulk jobs) left for now."""


class ApiBudgetError(ApiLimitError):
    """The connection's own `api_call_budget` is used up."""


class UnavailableError(SalesforceError):
    """Salesforce did not answer, or answered with a passing fault, more often than `max_retries` allows."""


class UnexpectedAnswerError(SalesforceError):
    """An answer that is not in the documents."""


class JobFailedError(SalesforceError):
    """A Bulk job ended as Failed."""


class JobAbortedError(SalesforceError):
    """Somebody aborted the Bulk job."""


class JobTimeoutError(SalesforceError):
    """The Bulk job was not finished when the operator's `timeout` was over."""


class JobNotCompleteError(SalesforceError):
    """Results were asked for before the job was complete."""


class ResultsExpiredError(SalesforceError):
    """The job, or its results, are gone: deleted, or older than 7 days (salesforce-protocol.md#bulk-limits)."""


class IncompleteResultError(SalesforceError):
    """Fewer or more rows arrived than Salesforce reported, or a page broke off."""


class RowCountError(IncompleteResultError):
    """What arrived whole does not have as many rows as Salesforce reported."""


class StoppedError(SalesforceError):
    """We ended a download ourselves: another part of it failed, or the task was killed."""


def named(kind: str | None, message: str) -> SalesforceError:
    """The exception of the class called `kind`, for problems told by another process; SalesforceError for unknown ones."""
    found = globals().get(kind or "")
    if isinstance(found, type) and issubclass(found, SalesforceError):
        return found(message)
    return SalesforceError(message)
