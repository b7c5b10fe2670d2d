"""The plugin that puts the page "Salesforce" into Airflow's UI; found by the entry point `airflow.plugins`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from airflow_sfcc._airflow.compat import conf
from airflow_sfcc._airflow.versions import HAS_3_3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

PREFIX = "/sfcc"
"""Where Airflow's API server mounts the page's routes."""


class PageApp:
    """The page's routes, imported with the first request: Airflow loads plugins in all of its processes, and in most of them
    nobody will ask for a page."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        await _app()(scope, receive, send)


@lru_cache(maxsize=1)
def _app() -> Any:
    from airflow_sfcc.page.web import make_app

    return make_app()


def page_path() -> str:
    """The page's path, below that of `[api] base_url`."""
    return urlsplit(str(conf.get("api", "base_url", fallback=""))).path.rstrip("/") + PREFIX


class SalesforcePlugin(AirflowPlugin):
    """A page in the navigation, a card on the dashboard, and the routes of both."""

    name = "airflow_sfcc"
    fastapi_apps = [{"app": PageApp(), "url_prefix": PREFIX, "name": "Salesforce"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Salesforce",
            "href": f"{page_path()}/",
            "url_route": "salesforce",
            "destination": "nav",
            "nav_top_level": True,
            "icon": f"{page_path()}/static/icon.svg",
            "icon_dark_mode": f"{page_path()}/static/icon-dark.svg",
        }
    ]
    react_apps = [
        {"name": "AirflowSfccCard", "bundle_url": f"{page_path()}/static/card.js", "destination": "dashboard"}
    ] * HAS_3_3
