"""Assets: where an extract reads, `salesforce://<my-domain>/<Object>`, and where it lands.

An outlet's asset is only known when the task runs: `{sobject}` and Jinja in the destination are filled then, and a mapped
operator lands a different asset per map index. So the default outlet is an asset alias, and each run adds the asset it
landed to it. DAGs can be scheduled on that asset, `Asset("s3://lake/salesforce/Account")`, or on the alias, for all of
them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk import Context

SCHEME = "salesforce"
_LONGEST_NAME = 1500
_CONN_ID = re.compile(r"[A-Za-z0-9_.-]+")
_PARSED = "salesforce"
"""The group of the assets that `default_inlets` makes."""


def create_asset(*, my_domain: str, sobject: str, extra: dict[str, Any] | None = None) -> Asset:
    """The asset of an object in an org."""
    return Asset(uri=salesforce_uri(my_domain, sobject), extra=extra)


def salesforce_uri(my_domain: str, sobject: str) -> str:
    """`salesforce://acme.my.salesforce.com/Account`; `my_domain` may be an origin such as `https://acme…`."""
    host = urlsplit(my_domain).netloc if "://" in my_domain else my_domain
    return f"{SCHEME}://{host.lower()}/{sobject}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """One spelling of a `salesforce://` URI. Raises ValueError when it does not name an org and an object."""
    sobject = uri.path.strip("/")
    if not uri.netloc or not sobject or "/" in sobject:
        raise ValueError(
            "A Salesforce asset is named salesforce://<My Domain>/<Object>, such as "
            "salesforce://acme.my.salesforce.com/Account."
        )
    return uri._replace(netloc=uri.netloc.lower(), path=f"/{sobject}")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """The dataset that OpenLineage knows an object by: namespace `salesforce://<my-domain>`, name `<Object>`."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(asset.uri)
    return Dataset(namespace=f"{SCHEME}://{parts.netloc}", name=parts.path.lstrip("/"))


def destination_uri(destination: str) -> str:
    """A destination's URL without the id of its Airflow connection, and without a slash at its end: `s3://conn@bucket/a/` is
    `s3://bucket/a`. Airflow takes that slash from an asset's URI and leaves it in its name, which makes two assets of one."""
    trimmed = destination.rstrip("/")
    parts = urlsplit(destination if trimmed.endswith(":") else trimmed)
    if not parts.scheme:
        return f"file://{trimmed}"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def default_inlets(conn_id: object, sobjects: Iterable[object]) -> list[Asset]:
    """What an extract reads, as far as it is known when the DAG is parsed.

    The org's My Domain is in the connection, which is not read then, so the connection's id stands for it:
    `salesforce://sfcc_default/Account`. A run that has landed names the org (in OpenLineage).
    """
    names = [name for name in sobjects if isinstance(name, str) and name.isidentifier()]
    if not isinstance(conn_id, str) or not _CONN_ID.fullmatch(conn_id):
        return []
    return [Asset(uri=f"{SCHEME}://{conn_id.lower()}/{name}", group=_PARSED) for name in names]


def is_default_inlet(asset: object) -> bool:
    """Whether an inlet is one of `default_inlets`."""
    return isinstance(asset, Asset) and asset.group == _PARSED


def default_outlets(destination: object, task_id: object) -> list[AssetAlias]:
    """What an extract announces unless told otherwise: an alias named by the destination as the DAG's author wrote it."""
    name = destination if isinstance(destination, str) and destination else f"salesforce extract {task_id}"
    return [AssetAlias(name=name[:_LONGEST_NAME])]


def announce(context: Context, outlets: Sequence[object], uri: str, extra: Mapping[str, Any]) -> None:
    """Tell Airflow what a run landed: every alias among the outlets gets the asset, every asset the event's extra."""
    events = context.get("outlet_events")
    if events is None:  # somebody calls execute() with a context of their own making
        return
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            events[outlet].add(Asset(uri=uri), extra=dict(extra))
        elif isinstance(outlet, Asset):
            events[outlet].extra = {**extra, **events[outlet].extra}
