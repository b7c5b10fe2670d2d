"""Several requests in one API call."""

from __future__ import annotations

import pytest

from airflow_sfcc.errors import SalesforceError
from airflow_sfcc.salesforce.together import MOST_QUERIES, ask_together, query_path
from tests.conftest import RunningOrg


def test_as_many_queries_as_salesforce_takes_are_one_call(org: RunningOrg) -> None:
    client = org.client()
    paths = [query_path(f"SELECT COUNT() FROM {name}") for name in ("Account", "Nothing", "Contact", "Case", "User")]
    assert len(paths) == MOST_QUERIES
    parts = list(ask_together(client.api, paths, MOST_QUERIES))
    assert [part.problem is None for part in parts] == [True, False, True, True, True]
    assert org.calls("composite") == 1


def test_what_refuses_them_all_is_said(org: RunningOrg) -> None:
    """In a part that belongs to none of the requests."""
    paths = [query_path("SELECT COUNT() FROM Account")] * (MOST_QUERIES + 1)
    with pytest.raises(SalesforceError, match=r"none of .*LIMIT_EXCEEDED: .* more than 5 query operations"):
        list(ask_together(org.client().api, paths, len(paths)))
