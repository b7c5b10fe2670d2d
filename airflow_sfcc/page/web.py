"""The routes of the page "Salesforce": HTML made on the server, under Airflow's own authorisation.

FastAPI apps of plugins are not protected by Airflow, so every route here has dependencies that do. Endpoints are plain functions:
FastAPI runs them in its threads, so that a query never holds up the API server.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_asset, requires_access_dag
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from airflow_sfcc._airflow.compat import conf
from airflow_sfcc.page import stored
from airflow_sfcc.page.building import overview
from airflow_sfcc.page.model import Overview
from airflow_sfcc.page.presenting import Links, NightDetails, ObjectPage, OverviewPage, Shown

NIGHTS = 60
MOST_NIGHTS = 120

STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "card.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}

HEADERS = {
    # Nothing from other hosts, no script or style within the HTML, no frame but Airflow's own page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store, private",
}

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("airflow_sfcc.page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Reader:
    """Who reads, which DAGs they may read, and whether they may read the errors that tasks kept as XComs."""

    dags: Collection[str]
    sees_errors: bool


def _reader(user: Annotated[BaseUser, Depends(get_user)]) -> Reader:
    """The user's permissions; the DAGs are those that Airflow's own lists would show them."""
    manager = get_auth_manager()
    sees_errors = manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.XCOM, user=user)
    return Reader(manager.get_authorized_dag_ids(user=user, method="GET"), bool(sees_errors))


ReaderDep = Annotated[Reader, Depends(_reader)]
"""As Airflow's own routes for asset events and task instances: 401 without a user, 403 without the permission."""

_PROTECTED = [Depends(requires_access_asset("GET")), Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))]


def make_app() -> FastAPI:
    """The FastAPI app that the plugin mounts."""
    app = FastAPI(title="airflow-sfcc", docs_url=None, redoc_url=None, openapi_url=None, dependencies=_PROTECTED)
    app.get("/", response_class=HTMLResponse)(show_page)
    app.get("/object", response_class=HTMLResponse)(show_object)
    app.get("/night", response_class=HTMLResponse)(show_night)
    app.get("/summary")(show_summary)
    app.get("/static/{name}")(static_file)
    app.middleware("http")(_with_headers)
    return app


async def _with_headers(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def show_page(
    reader: ReaderDep,
    org: str | None = None,
    q: str = "",
    show: Literal["all", "problems"] = "all",
    sort: Literal["name", "state", "rows", "growth", "seconds"] = "name",
    nights: Annotated[int, Query(ge=1, le=MOST_NIGHTS)] = NIGHTS,
) -> HTMLResponse:
    shown = Shown(org=org, search=q, only=show, sort=sort, nights=nights)
    model = _overview(reader, nights)
    return _html("page.html", OverviewPage(model, shown, links(), time_zone()))


def show_object(
    reader: ReaderDep, id: str, night: date | None = None, nights: Annotated[int, Query(ge=1, le=MOST_NIGHTS)] = NIGHTS
) -> HTMLResponse:
    model = _overview(reader, nights)
    found = model.line(id)
    if found is None:
        raise HTTPException(404, "There is no such object in the nights shown.")
    return _html("object.html", ObjectPage(model, *found, links(), time_zone(), night))


def show_night(
    reader: ReaderDep, id: str, night: date, nights: Annotated[int, Query(ge=1, le=MOST_NIGHTS)] = NIGHTS
) -> HTMLResponse:
    model = _overview(reader, nights)
    found = model.line(id)
    if found is None:
        raise HTTPException(404, "There is no such object in the nights shown.")
    return _html("night.html", NightDetails(model, *found, night, links(), time_zone()))


def show_summary(reader: ReaderDep) -> JSONResponse:
    """For the card on Airflow's dashboard, and for other programs: each org's verdict and sentence."""
    page = OverviewPage(_overview(reader, NIGHTS), Shown(), links(), time_zone())
    return JSONResponse(page.summary())


def static_file(name: str) -> FileResponse:
    media_type = _MEDIA_TYPES.get(name)
    if media_type is None:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(STATIC / name, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def _html(template: str, page: object) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(page=page))


def _overview(reader: Reader, nights: int) -> Overview:
    zone, now = time_zone(), datetime.now(timezone.utc)
    start = (now.astimezone(zone) - timedelta(days=nights - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    with create_session() as session:
        found = stored.read(session, reader.dags, start, now, with_errors=reader.sees_errors)
    return overview(found, now, zone=zone, nights=nights)


@lru_cache
def links() -> Links:
    """Addresses of Airflow's own pages, below the path of `[api] base_url`."""
    return Links(urlsplit(str(conf.get("api", "base_url", fallback=""))).path.rstrip("/"))


def time_zone() -> tzinfo:
    """`[core] default_timezone`, whose dates the nights are."""
    from airflow import settings

    found: tzinfo = settings.TIMEZONE
    return found
