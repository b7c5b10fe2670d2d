"""Every exception of this package. Each message is a sentence that says what to do next.

    SfccError                         catch this one to catch all of ours
      SalesforceError                 the connection, the org, the wire
        ConfigurationError            the connection, the app or the user is set up wrongly *
          AuthenticationError         the login, or a brand-new token, was refused *
        UntrustedHostError            something pointed outside the verified instance *
        QueryError                    Salesforce does not accept the query *
          BulkUnsupportedError        Bulk API 2.0 does not run this query; REST may *
        NotFoundError                 the resource does not exist, or is hidden *
        AccessError                   the Run As user may not do this *
        QueryTimeoutError             Salesforce's own time limit for queries
        ApiLimitError                 no API calls, or Bulk jobs, left for now
          ApiBudgetError              the connection's own api_call_budget is used up
        UnavailableError              no response, or transient errors only
        UnexpectedResponseError         a response that is not as documented
        JobFailedError                the Bulk job failed
        JobAbortedError               somebody aborted the Bulk job
        JobTimeoutError               the Bulk job took longer than `timeout`
        JobNotCompleteError           results were requested too early
        ResultsExpiredError           the job or its results are gone
        IncompleteResultError         rows are missing, or a page broke off
          RowCountError               whole pages, but not the number of rows that was reported
        StoppedError                  we ended a download ourselves
      ExtractError                    the engine: what an extract makes of what arrived
        ConversionError               a value does not fit its column's type *
        StateError                    the destination's state does not allow this extract *
        ConcurrentRunError            another run committed to the destination
        SchemaChangedError            the columns changed and on_schema_change="fail" *
        FieldVanishedError            a field was removed or hidden while the extract ran
        DeleteLogError                the org's deletion log does not reach back far enough *
        DamagedFileError              a staged file is not what was written
        ContentChangedError           a page's bytes cannot be kept as they are (handled inside)
      SyncError                       objects of a sync failed, or its plan did
      OptionError                     an operator's or sensor's option that cannot have this value (also a ValueError) *
      StorageError                    the destination's storage: a full disk, a missing bucket
      DifferenceError                 what landed is not what the org has *
      LoadError                       tables that extracts are loaded into
        TableError                    the table, or a value, does not allow this load *
        TableBusyError                another load or writer is at work on the table
        TableUnavailableError         the table's database or storage failed

`permanent` (marked *) says that a retry cannot help: somebody has to change something first.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sfcc.redaction import printable, redact, shown

SETUP_GUIDE = "docs/salesforce-setup.md"


@dataclass(frozen=True)
class SetupStep:
    """A step of the setup guide: its name, and its anchor in `docs/salesforce-setup.md`."""

    name: str
    anchor: str

    def __str__(self) -> str:
        return f"Setup step: {self.name} ({SETUP_GUIDE}#{self.anchor}, or: airflow-sfcc docs {self.anchor})"


CONSUMER_KEY_AND_SECRET = SetupStep("consumer key and secret", "consumer-key-and-secret")
CERTIFICATE = SetupStep("certificate and private key", "a-certificate-instead-of-a-secret")
RUN_AS_USER = SetupStep("Run As user", "run-as-user")
MY_DOMAIN = SetupStep("My Domain", "my-domain")
ENABLE_FLOW = SetupStep("Enable Client Credentials Flow", "enable-client-credentials-flow")
IP_RESTRICTIONS = SetupStep("IP restrictions", "ip-restrictions")
PERMITTED_USERS = SetupStep("permitted users", "permitted-users")
OAUTH_SCOPES = SetupStep("OAuth scopes of the app", "the-app")
API_ENABLED = SetupStep("API Enabled", "api-enabled")
ACCESS = SetupStep("object and field access", "object-and-field-access")


class SfccError(Exception):
    """Base of everything this package raises.

    `message` is a whole sentence of printable lines, without any secret that this process knows. `step` is the setup step to
    look at, `status` the HTTP status and `code` Salesforce's error code, each None where there is none.
    """

    permanent = False

    def __init__(
        self, message: str, *, step: SetupStep | None = None, status: int | None = None, code: str | None = None
    ) -> None:
        code = printable(redact(code)) if code else code
        super().__init__(shown(redact(message)), step, status, code)
        self.message = message
        self.step = step
        self.status = status
        self.code = code

    @property
    def message(self) -> str:
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = shown(redact(text))

    def __str__(self) -> str:
        return f"{self.message}\n{self.step}." if self.step else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.step, self.status, self.code)


def _rebuild(
    kind: type[SfccError], message: str, step: SetupStep | None, status: int | None, code: str | None
) -> SfccError:
    return kind(message, step=step, status=status, code=code)


class SalesforceError(SfccError):
    """Base of what goes wrong with the connection, the org, or the wire between."""


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
    """There was no response, or transient errors only, more often than `max_retries` allows."""


class UnexpectedResponseError(SalesforceError):
    """A response that is not as documented."""


class JobFailedError(SalesforceError):
    """A Bulk job ended as Failed."""


class JobAbortedError(SalesforceError):
    """Somebody aborted the Bulk job."""


class JobTimeoutError(SalesforceError):
    """The Bulk job was not finished when the operator's `timeout` was over."""


class JobNotCompleteError(SalesforceError):
    """Results were requested before the job was complete."""


class ResultsExpiredError(SalesforceError):
    """The job, or its results, are gone: deleted, or older than 7 days (salesforce-protocol.md#bulk-limits)."""


class IncompleteResultError(SalesforceError):
    """Fewer or more rows arrived than Salesforce reported, or a page broke off."""


class RowCountError(IncompleteResultError):
    """What arrived whole does not have as many rows as Salesforce reported."""


class StoppedError(SalesforceError):
    """We ended a download ourselves: another part of it failed, or the task was killed."""


class ExtractError(SfccError):
    """Base of what goes wrong in the engine; raised itself when an extract cannot go on from where it stopped."""


class ConversionError(ExtractError):
    """A value that its column's type cannot hold."""

    permanent = True


class StateError(ExtractError):
    """The destination's state does not allow this extract; the message says what does."""

    permanent = True


class ConcurrentRunError(ExtractError):
    """Another run committed to the destination, or is about to, while this one was under way. Running again helps."""


class SchemaChangedError(ExtractError):
    """The object's columns differ from those of the previous extract, and on_schema_change="fail"."""

    permanent = True


class FieldVanishedError(ExtractError):
    """A field was there when the extract was planned and is not there now. Running again takes the object as it is then."""


class DeleteLogError(ExtractError):
    """The org's deletion log does not reach back to where the destination's knowledge of deletions ends."""

    permanent = True


class DamagedFileError(ExtractError):
    """A staged file is damaged, or does not fit the files it should be joined with."""


class ContentChangedError(ExtractError):
    """The bytes of a result page cannot be kept as they are: the page has to be requested again and converted."""


class SyncError(SfccError):
    """Objects of a sync failed, each for the reason that is told, or there was no plan to report on."""


class OptionError(SfccError, ValueError):
    """An option of an operator or sensor has a value that it cannot have, or that would have no effect."""

    permanent = True


class StorageError(SfccError):
    """The destination's storage failed: a full disk, a missing bucket, no permission to write."""


class DifferenceError(SfccError):
    """Reconciling found records that are not as the org has them."""

    permanent = True


class LoadError(SfccError):
    """Base of what goes wrong when extracts are loaded into a table."""


class TableError(LoadError):
    """The table, or what is to be loaded into it, does not allow this load; a person has to change something."""

    permanent = True


class TableBusyError(LoadError):
    """Another load or writer is at work on the table. Running again later helps."""


class TableUnavailableError(LoadError):
    """The table's database or storage failed, or cannot be reached. Running again may help."""


def named(kind: str | None, message: str) -> SfccError:
    """The exception of the class called `kind`, for errors reported by another process; SfccError for unknown names."""
    found = globals().get(kind or "")
    if isinstance(found, type) and issubclass(found, SfccError):
        return found(message)
    return SfccError(message)
