"""Mapped tasks: what `partial` and `expand` check while the DAG is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.mappedoperator import OperatorPartial

from airflow_sfcc._airflow.options import checked, option_names
from airflow_sfcc._airflow.presentation import defaults_of, joined
from airflow_sfcc._airflow.versions import without_policy_before_3_3
from airflow_sfcc.assets import default_inlets
from airflow_sfcc.errors import OptionError

if TYPE_CHECKING:
    from airflow.sdk.definitions.mappedoperator import MappedOperator

_NAMES_SOBJECT = re.compile(r"\{sobject\}|\{\{[^}]*sobject[^}]*\}\}")


class MappableOperator(BaseOperator):
    """An operator whose `partial` checks its options as its constructor does."""

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As in every operator."""
        without_policy_before_3_3(kwargs)
        checked(cls, {name: value for name, value in kwargs.items() if name in option_names(cls)})
        return super().partial(**kwargs)


class _OurInlets(list[Any]):
    """Inlets that the DAG's author left to us, so that those of mapped objects may be added."""


class _ExtractPartial(OperatorPartial):
    """Knows, once it is expanded, which objects the tasks extract, and refuses to land them all in one folder."""

    __slots__ = ()

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        self._check(mapped_kwargs, _literals(mapped_kwargs.get("sobject")))
        return super().expand(**mapped_kwargs)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        if isinstance(kwargs, Sequence):
            for each in kwargs:
                if isinstance(each, Mapping):
                    self._check(each, [])
            self._add_inlets(each.get("sobject") for each in kwargs if isinstance(each, Mapping))
        return super().expand_kwargs(kwargs, strict=strict)

    def _check(self, mapped: Mapping[str, Any], sobjects: Sequence[Any]) -> None:
        destination = self.kwargs.get("destination")
        is_known = destination is not None and not callable(getattr(destination, "iter_references", None))
        is_shared = is_known and not _NAMES_SOBJECT.search(str(destination))
        if "sobject" in mapped and "destination" not in mapped and is_shared:
            raise OptionError(
                f"destination={str(destination)!r} has no {{sobject}}, and sobject is mapped: all objects would land in "
                "one folder, where nothing tells them apart. Put {sobject} where the object's name belongs, such as "
                f"{str(destination).rstrip('/')}/{{sobject}}."
            )
        self._add_inlets(sobjects)

    def _add_inlets(self, sobjects: Iterable[Any]) -> None:
        known = self.kwargs.get("inlets")
        if isinstance(known, _OurInlets):
            known.extend(default_inlets(self.kwargs.get("salesforce_conn_id", "sfcc_default"), sobjects))


def mapped_extract(partial: OperatorPartial, written: Mapping[str, Any]) -> OperatorPartial:
    """What `partial` of the extract operator returns. `written` are the arguments that the DAG's author wrote."""
    for name, ours in defaults_of(written, written).items():
        both = joined(partial.kwargs.get(name), ours)
        partial.kwargs[name] = _OurInlets(both) if name == "inlets" else both
    partial.__class__ = _ExtractPartial
    return partial


def _literals(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else []
