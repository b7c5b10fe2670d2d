"""`@task.soql`: the function returns SOQL, the task returns the records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    task_decorator_factory,
)

from airflow_sfcc._airflow.compat import determine_kwargs
from airflow_sfcc.operators import SalesforceQueryOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

_UNKNOWN_YET = "(what the function returns when the task runs)"
"""Shown as the task's SOQL until then."""


class _SoqlDecoratedOperator(DecoratedOperator, SalesforceQueryOperator):
    """Calls the function when the task runs, and runs the query that it returns."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *SalesforceQueryOperator.template_fields)
    template_fields_renderers = {  # noqa: RUF012
        **DecoratedOperator.template_fields_renderers,
        **SalesforceQueryOperator.template_fields_renderers,
    }
    custom_operator_name: str = "@task.soql"
    overwrite_rtif_after_execution: bool = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, soql=_UNKNOWN_YET, **kwargs
        )

    def execute(self, context: Context) -> Any:
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        soql = self.python_callable(*self.op_args, **kwargs)
        if not isinstance(soql, str) or not soql.strip():
            raise TypeError(f"The function {self.python_callable.__name__} must return SOQL as text, not {soql!r}.")
        # Only what the function returned: the other fields are rendered already, and their values may look like templates.
        self.soql = self.render_template(soql, context)
        return SalesforceQueryOperator.execute(self, context)


def soql_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """`@task.soql`: takes what SalesforceQueryOperator takes, except `soql`, which the function returns.

    `bind` fills `:names` in the query with quoted literals, so that the function need not quote anything.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_SoqlDecoratedOperator, **kwargs
    )
