"""An operator's options: each is declared once, in the signature of `__init__`; its annotation says which values it takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from airflow.sdk import BaseOperator
from msgspec import structs

T = TypeVar("T")


class ExtractOptions(BaseOperator):
    """What the run flow itself reads of its operator; the rest goes to the engine as a Request."""

    destination: str
    sobject: str | None
    soql: str | None
    skip_if_empty: bool
    deferrable: bool
    durable: bool
    cancel_on_kill: bool
    poll_interval: float
    timeout: timedelta
    salesforce_conn_id: str


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An operator's own options: what `locals()` holds at the beginning of its `__init__`."""
    return {name: value for name, value in arguments.items() if name not in ("self", "kwargs", "__class__")}


def checked(operator: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the form that the engine takes. Raises ValueError, which names the option, for what it cannot be."""
    hints = get_type_hints(operator.__init__)  # type: ignore[misc]
    return {name: _checked(name, value, hints[name]) for name, value in options.items()}


def request_of(model: type[T], operator: object) -> T:
    """The engine's request, a msgspec Struct, from the operator's attributes of the same names."""
    names = [field.name for field in structs.fields(model)]  # type: ignore[arg-type]
    return model(**{name: getattr(operator, name) for name in names if hasattr(operator, name)})


def _checked(name: str, value: Any, annotation: Any) -> Any:
    kinds = set(get_args(annotation))
    if get_origin(annotation) is Literal:
        return _one_of(name, value, get_args(annotation))
    if timedelta in kinds:
        return _span(name, value)
    if annotation in (int, float):
        return _positive(name, value)
    return value


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _span(name: str, value: float | timedelta) -> timedelta:
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if span < timedelta(0):
        raise ValueError(f"{name} must not be negative.")
    return span


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise ValueError(f"{name} must be greater than 0.")
    return value
