"""What `make docs` adds to the guides: the API reference, the changelog, and plain names for files that the site does not have.

MkDocs calls the functions whose names begin with `on_`: https://www.mkdocs.org/user-guide/configuration/#hooks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]  # MkDocs loads this file by its path, so nothing of dev can be imported

MODULES = {
    "Operators": (
        "operators",
        [
            "SalesforceExtractOperator",
            "SalesforceQueryOperator",
            "SalesforceLoadOperator",
            "SalesforceReconcileOperator",
            "SalesforceVacuumOperator",
        ],
    ),
    "Task groups": ("taskgroups", ["salesforce_extract", "salesforce_sync"]),
    "Sensor": ("sensors", ["SalesforceQuerySensor"]),
    "Watchers": ("watchers", ["SalesforceRecordsTrigger"]),
    "Decorator": ("decorators", ["soql_task"]),
    "Notifications": ("notifications", ["WhenWarned"]),
    "Retry policy": ("retry_policy", ["SALESFORCE_RETRY_POLICY"]),
    "Assets": ("assets", ["create_asset", "salesforce_uri", "destination_uri"]),
    "Hook": ("hooks", ["SalesforceClientCredentialsHook"]),
    "Readers": (
        "extract",
        [
            "current_table.current_table_sql",
            "current_table.newest_extract_sql",
            "current_table.register_storage",
            "newest.newest_extract",
            "manifests.read_manifests",
            "incremental.state.latest_state",
        ],
    ),
    "Errors": ("errors", None),
    "Testing kit": ("testing", ["SalesforceOrg", "StartOrg", "RunDag", "DagRunResult"]),
}
OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./(?P<target>[^)#]+)(?:#[\w-]+)?\)")


def on_config(config: Any) -> Any:
    """The navigation is that of docs/index.md: its sections, and the guides that each names, in their order."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", index, flags=re.M)[1:]
    guides = {section.partition("\n")[0]: re.findall(r"\(([\w-]+\.md)\)", section) for section in sections}
    once: set[str] = set()
    nav: list[Any] = ["index.md"]
    for title, names in guides.items():
        fresh = [name for name in dict.fromkeys(names) if name not in once]
        once |= set(fresh)
        nav += [{title: fresh}] if fresh else []
    config["nav"] = [*nav, {"Reference": ["api.md", "changelog.md"]}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from code and from files outside of docs/."""
    from mkdocs.structure.files import File

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=changelog))
    files.append(File.generated(config, "api.md", content=api_reference()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files outside of docs/ become their names, since a site has no such files."""
    return OUTSIDE.sub(lambda found: f"{found['text'].strip('`')} (`{found['target']}`)", markdown)


def api_reference() -> str:
    """Directives of mkdocstrings, which reads signatures and docstrings from the source."""
    lines = ["# API reference", "", "Signatures and docstrings of what DAGs and tests import.", ""]
    for title, (module, names) in MODULES.items():
        lines += [f"## {title}", ""]
        lines += (
            [f"::: airflow_sfcc.{module}.{name}\n" for name in names] if names else [f"::: airflow_sfcc.{module}\n"]
        )
    return "\n".join(lines)
