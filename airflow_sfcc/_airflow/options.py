"""An operator's options: each is declared once, in the signature of `__init__`; its annotation says which values it takes.

Literal values are checked when the DAG is parsed. What is only known when the task runs, templates and XComs, is checked
then, by the same rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

from airflow.sdk import BaseOperator
from airflow.sdk.bases.xcom import BaseXCom
from msgspec import structs

from airflow_sfcc._airflow.destinations import check_placeholders, check_table
from airflow_sfcc._airflow.option_values import check_memory_limit, checked_value
from airflow_sfcc.errors import OptionError

if TYPE_CHECKING:
    from airflow_sfcc.extract.model import Api

T = TypeVar("T")


class ExtractOptions(BaseOperator):
    """What the run flow itself reads of its operator; the rest goes to the engine as a Request."""

    destination: str
    sobject: str | None
    soql: str | None
    skip_if_empty: bool
    calculated: Literal["as_read", "refresh"]
    api: Api
    deferrable: bool
    durable: bool
    cancel_on_kill: bool
    poll_interval: float
    timeout: timedelta
    salesforce_conn_id: str
    hash_key_conn_id: str | None
    must_have_values: frozenset[str]
    query: str | None = None
    """The SOQL that runs, once it is known."""

    overwrite_rtif_after_execution = True
    """Airflow shows templated attributes as they are when the task ends."""


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An operator's own options: what `locals()` holds at the beginning of its `__init__`."""
    return {name: value for name, value in arguments.items() if name not in ("self", "kwargs", "__class__")}


def option_names(operator: type[BaseOperator]) -> set[str]:
    """The options that the operator's signature declares."""
    return set(_annotations(operator)) - {"kwargs", "return"}


def checked(operator: type[BaseOperator], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the form that the engine takes; templates and XComs stay as they are.

    Raises OptionError, which names the option, for a value that it cannot have.
    """
    hints = _annotations(operator)
    if isinstance(options.get("destination"), str):
        check_placeholders(options["destination"])  # which are known even in a template
    if isinstance(options.get("table"), str):
        check_table(options["table"])
    if isinstance(options.get("memory_limit"), str):
        check_memory_limit(options["memory_limit"])
    return {
        name: value
        if name in operator.template_fields and is_known_later(value)
        else checked_value(name, value, hints[name])
        for name, value in options.items()
    }


def must_have_values(options: Mapping[str, Any]) -> frozenset[str]:
    """The names of options that may come out as None, and then must not count as left out.

    None is what Airflow gives for a task that returned nothing: without its condition an extract would have all rows, without
    its list of fields all fields, without rules for columns what nobody may see.
    """
    return frozenset(
        name
        for name, value in options.items()
        if is_known_later(value) and (name == "columns" or getattr(value, "key", None) == BaseXCom.XCOM_RETURN_KEY)
    )


def require_values(values: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise OptionError for one of these names whose rendered value is None."""
    for name in sorted(names):
        if values.get(name) is None:
            raise OptionError(
                f"{name} is given, and came out as None, which would count as left out: see that the task or variable it comes "
                f"from has a value{', and that it is {} where no column is meant' if name == 'columns' else ''}."
            )


def check_rendered(operator: BaseOperator) -> None:
    """Check and convert the templated attributes, which are rendered by now. Raises OptionError."""
    require_values(vars(operator), getattr(operator, "must_have_values", ()))
    hints = _annotations(type(operator))
    for name in operator.template_fields:
        if name in hints:
            setattr(operator, name, checked_value(name, getattr(operator, name), hints[name]))
    table = getattr(operator, "table", None)
    if isinstance(table, str):
        check_table(table)


def refuse_without_effect(options: Mapping[str, Any], given: Collection[str]) -> None:
    """Raise OptionError for options that the other options leave without effect. `given` are those that the author wrote.

    Where the mode is a template they are meant for the other mode, and inherited ones for other tasks.
    """
    columns = options["columns"]
    hashes = columns is not None and (is_known_later(columns) or "hash" in columns.values())
    if hashes and not is_known_later(columns) and options["hash_key_conn_id"] is None:
        raise OptionError(
            "columns hashes values, and there is no key to hash them by: name a connection whose password is the key in "
            "hash_key_conn_id."
        )
    if options["calculated"] == "refresh":
        _check_refresh(options)
    useless = {
        "hash_key_conn_id names the key for columns that are hashed, and columns hashes none": (
            not hashes,
            {"hash_key_conn_id"},
        ),
        "calculated goes with mode='incremental', since a full extract reads all fields": (
            options["mode"] == "full",
            {"calculated"},
        ),
        "initial_start, lookback and cursor_field have no effect with mode='full'": (
            options["mode"] == "full",
            {"initial_start", "lookback", "cursor_field"},
        ),
        "fields, exclude_fields and where go with sobject; with soql, write them into the query": (
            options["soql"] is not None,
            {"fields", "exclude_fields", "where"},
        ),
        "page_size and parallel_pages are for result pages of Bulk jobs, and api='rest' has none": (
            options["api"] == "rest",
            {"page_size", "parallel_pages"},
        ),
        "bind fills :names in where or soql, and there is neither": (
            options["where"] is None and options["soql"] is None,
            {"bind"},
        ),
    }
    for sentence, (applies, names) in useless.items():
        if applies and names & set(given):
            raise OptionError(f"{', '.join(sorted(names & set(given)))}: {sentence}. Leave it out.")


def _check_refresh(options: Mapping[str, Any]) -> None:
    """Raise OptionError for options that reading calculated fields again cannot go with."""
    if options["file_format"] != "parquet" and not is_known_later(options["file_format"]):
        raise OptionError(
            "calculated='refresh' compares with the current table, which is made of Parquet: use file_format='parquet'."
        )
    if options["skip_if_empty"]:
        raise OptionError("calculated='refresh' may land records where nothing else changed: leave skip_if_empty out.")


def is_known_later(value: Any) -> bool:
    """Whether a value is a template, or another task's result, which only the running task knows."""
    is_template = isinstance(value, str) and ("{{" in value or "{%" in value)
    return is_template or callable(getattr(value, "iter_references", None))


def given(operator: type[BaseOperator], options: Mapping[str, Any], inherited: Mapping[str, Any]) -> set[str]:
    """The names of the options that the task's author gave: no defaults, nothing from `default_args`, no templates."""
    parameters = {
        name: each for klass in _own_classes(operator) for name, each in signature(klass.__init__).parameters.items()
    }
    return {
        name
        for name, value in options.items()
        if value != parameters[name].default
        and not (name in inherited and value == inherited[name])
        and not is_known_later(value)
    }


def request_of(model: type[T], operator: object) -> T:
    """The engine's request, a msgspec Struct, from the operator's attributes of the same names."""
    names = [field.name for field in structs.fields(model)]  # type: ignore[arg-type]
    return model(**{name: getattr(operator, name) for name in names if hasattr(operator, name)})


def _annotations(operator: type) -> dict[str, Any]:
    return {name: hint for klass in _own_classes(operator) for name, hint in get_type_hints(klass.__init__).items()}


def _own_classes(operator: type) -> list[Any]:
    """The classes of this package whose `__init__` declares options, the base first."""
    ours = [each for each in operator.__mro__ if each.__module__.partition(".")[0] == "airflow_sfcc"]
    return [each for each in reversed(ours) if "__init__" in vars(each)]
