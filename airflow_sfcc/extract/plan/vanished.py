"""Fields that were there when an extract was planned, and are gone when its query is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from airflow_sfcc.errors import ACCESS, FieldVanishedError, JobFailedError, QueryError, SalesforceError
from airflow_sfcc.extract.model import Column
from airflow_sfcc.extract.plan.columns import UNKNOWN_FIELD, ColumnResolver
from airflow_sfcc.salesforce.client import SalesforceClient


@contextmanager
def vanishing_fields_explained(client: SalesforceClient, sobject: str, columns: Sequence[Column]) -> Iterator[None]:
    """Raise FieldVanishedError instead of Salesforce's error when a column's field is gone from the object's describe.

    Salesforce's text may be in any language, so its code decides whether to look, and a new describe what is gone.
    """
    try:
        yield
    except SalesforceError as refusal:
        gone = _gone(client, sobject, columns) if _may_mean_that(refusal) else []
        if not gone:
            raise
        raise FieldVanishedError(
            f"{'The field' if len(gone) == 1 else 'Fields'} {', '.join(gone)} of {sobject} {'was' if len(gone) == 1 else 'were'} "
            "there when this extract was planned, and no longer: removed, or hidden from the Run As user, while the run was "
            "under way. Nothing was landed. Run it again: it takes the object as it is then.",
            step=ACCESS,
            code=UNKNOWN_FIELD,
        ) from refusal


def _may_mean_that(refusal: SalesforceError) -> bool:
    is_named = (refusal.code or "").upper() == UNKNOWN_FIELD
    return is_named or (isinstance(refusal, JobFailedError) and UNKNOWN_FIELD in refusal.message)


def _gone(client: SalesforceClient, sobject: str, columns: Sequence[Column]) -> list[str]:
    """The columns that the describes of planning have, and new ones have not; none where those are refused."""
    then, now = ColumnResolver(client, "float"), ColumnResolver(SalesforceClient(client.api), "float")
    try:
        return [
            column.name
            for column in columns
            if _is_there(then, sobject, column.name) and not _is_there(now, sobject, column.name)
        ]
    except SalesforceError:
        return []


def _is_there(resolver: ColumnResolver, sobject: str, path: str) -> bool:
    try:
        resolver.field(sobject, path)
    except QueryError as problem:
        if problem.code == UNKNOWN_FIELD:
            return False
        raise
    return True
