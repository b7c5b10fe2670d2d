"""The page "Salesforce" as Airflow's API server mounts it, over a database of its own that holds made-up nights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.page_nights import Nights, clear, seed


@pytest.fixture
def nights(sfcc_airflow: Path) -> Iterator[Callable[..., None]]:
    """Makes nights as `dev.page_nights.Nights` describes them; the database is empty before and after."""
    from airflow.utils.session import create_session

    def make(**wanted: Any) -> None:
        with create_session() as session:
            seed(session, Nights(**wanted))

    with create_session() as session:
        clear(session)
    yield make
    with create_session() as session:
        clear(session)


class Permissions:
    """What the signed-in user may do; tests change it."""

    def __init__(self) -> None:
        self.everything()

    def everything(self) -> None:
        self.assets = True
        self.task_instances = True
        self.xcoms = True
        self.dags: set[str] | None = None


@pytest.fixture(scope="session")
def signed_in(sfcc_airflow: Path) -> Iterator[tuple[Any, Permissions]]:
    """A client of Airflow's whole app with the plugin in it, and what its user may do."""
    from airflow.api_fastapi import app as airflow_app
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from fastapi.testclient import TestClient

    permissions = Permissions()
    may_see = SimpleAuthManager.is_authorized_dag

    def is_authorized_dag(self: Any, *, access_entity: Any = None, **known: Any) -> bool:
        allowed = {
            DagAccessEntity.TASK_INSTANCE: permissions.task_instances,
            DagAccessEntity.XCOM: permissions.xcoms,
        }.get(access_entity, True)
        return allowed and may_see(self, access_entity=access_entity, **known)

    def filter_authorized_dag_ids(self: Any, *, dag_ids: set[str], **known: Any) -> set[str]:
        return dag_ids if permissions.dags is None else dag_ids & permissions.dags

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized_dag)
        patch.setattr(SimpleAuthManager, "is_authorized_asset", lambda self, **known: permissions.assets)
        patch.setattr(SimpleAuthManager, "filter_authorized_dag_ids", filter_authorized_dag_ids)
        airflow_app.purge_cached_app()
        app = airflow_app.create_app(apps="core")
        with TestClient(app, base_url="http://localhost") as client:
            yield client, permissions


@pytest.fixture
def permissions(signed_in: tuple[Any, Permissions]) -> Permissions:
    signed_in[1].everything()
    return signed_in[1]


@pytest.fixture
def page(nights: object, permissions: Permissions, signed_in: tuple[Any, Permissions]) -> Any:
    """A browser without a browser, signed in."""
    client, _ = signed_in
    client.headers["Authorization"] = f"Bearer {_token()}"
    return client


def _token() -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    manager: Any = get_auth_manager()
    token: str = manager.generate_jwt(SimpleAuthManagerUser(username="reader", role="viewer"))
    return token
