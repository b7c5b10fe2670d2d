"""Links from a task to Salesforce's own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from airflow_sfcc._airflow.web_pages import bulk_job_page, list_view

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class _SalesforcePageLink(BaseOperatorLink):
    """A link that the operator knows once it has run; Airflow stores it after each run of the task, deferral too."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        pages: dict[str, str] = getattr(operator, "salesforce_pages", {})
        return pages.get(self.name, "")


class BulkJobLink(_SalesforcePageLink):
    """To the Bulk job in the org's Setup; empty for extracts by REST."""

    name = "Bulk job in Salesforce"


class ListViewLink(_SalesforcePageLink):
    """To the object's list view in the org."""

    name = "Object in Salesforce"


def salesforce_pages(instance: str, sobject: str, job_id: str | None) -> dict[str, str]:
    """The pages behind the links of one extract, by the links' names."""
    pages = {ListViewLink.name: list_view(instance, sobject)}
    if job_id:
        pages[BulkJobLink.name] = bulk_job_page(instance, job_id)
    return pages
