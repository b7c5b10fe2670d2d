"""Which objects a DAG file extracts, read from its text. The file is not run: a DAG may do anything when imported."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sfcc.errors import ConfigurationError, SalesforceError
from airflow_sfcc.org_setup.access import ObjectAccess
from airflow_sfcc.salesforce.soql import scan


@dataclass
class Found:
    """The objects of a DAG file, and a sentence for each place that does not say which objects it means."""

    objects: list[ObjectAccess] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def objects_in(path: Path) -> Found:
    """The objects that the operators, task groups and `@task.soql` functions of a DAG file name.

    Understood are literals, constants of the file, loops over them, `.partial(...).expand(...)` and `.expand_kwargs(...)`.
    Raises ConfigurationError for a file that cannot be read as Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (OSError, SyntaxError, ValueError) as problem:
        raise ConfigurationError(f"{path} could not be read as a DAG file: {problem}.") from None
    return _Reader(path, _constants(tree)).read(tree)


_Constants = Mapping[str, list[Any]]
"""The values that each name of the file may have."""


def _constants(tree: ast.Module) -> _Constants:
    values: dict[str, list[Any]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).extend(_values(node.value, {}))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            values.setdefault(node.target.id, []).extend(_values(node.value, {}))
    for node in ast.walk(tree):
        if isinstance(node, (ast.For, ast.comprehension)) and isinstance(node.target, ast.Name):
            members = [member for value in _values(node.iter, values) for member in _members(value)]
            values.setdefault(node.target.id, []).extend(members)
    return values


def _values(node: ast.expr, constants: _Constants) -> list[Any]:
    """The values that an expression may have, as far as the file's text says; empty when it does not."""
    if isinstance(node, ast.Name):
        return list(constants.get(node.id, []))
    try:
        return [ast.literal_eval(node)]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return []


def _members(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, dict)) else []


class _Reader:
    def __init__(self, path: Path, constants: _Constants) -> None:
        self._path = path
        self._constants = constants
        self._found = Found()

    def read(self, tree: ast.Module) -> Found:
        expanded = {id(partial) for node in ast.walk(tree) if (partial := _partial_of(node)) is not None}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and id(node) not in expanded:
                self._call(node)
            elif isinstance(node, ast.FunctionDef) and any(_is_task_soql(each) for each in node.decorator_list):
                self._soql_function(node)
        return self._found

    def _call(self, call: ast.Call) -> None:
        arguments = _keywords(call)
        if _name_of(call.func) == "salesforce_sync":
            self._remark(
                call, "salesforce_sync takes objects by patterns, which only the org resolves: name them with --object"
            )
        mapped: set[str] = set()
        partial = _partial_of(call)
        if partial is not None:
            mapped = set(arguments)
            arguments = {**_keywords(partial), **arguments}
            if call.args:
                self._each_kwargs(call.args[0], arguments)
        calls = [call] if partial is None else [call, partial]
        if (
            "destination" in arguments
            and not {"sobject", "soql"} & set(arguments)
            and any(map(_hides_arguments, calls))
        ):
            self._remark(call, "arguments after ** are not written out there: name their objects with --object")
        for name in ("sobject", "soql"):
            if name in arguments:
                self._argument(name, arguments, mapped=name in mapped)

    def _argument(self, name: str, arguments: Mapping[str, ast.expr], *, mapped: bool) -> None:
        node = arguments[name]
        values = _values(node, self._constants)
        if mapped:
            values = [member for value in values for member in _members(value)]
        texts = [value for value in values if isinstance(value, str)]
        if not texts and not (isinstance(node, ast.Constant) and node.value is None):
            self._remark(node, f"{name} is not written out there: name its objects with --object")
        for text in texts:
            self._add(name, text, node, self._fields(arguments))

    def _each_kwargs(self, node: ast.expr, common: Mapping[str, ast.expr]) -> None:
        entries = [entry for value in _values(node, self._constants) for entry in _members(value)]
        if not entries:
            self._remark(node, "the mapped arguments are not written out there: name their objects with --object")
        for entry in entries:
            for name in ("sobject", "soql"):
                text = entry.get(name) if isinstance(entry, dict) else None
                if isinstance(text, str):
                    self._add(name, text, node, _names(entry.get("fields")) or self._fields(common))

    def _soql_function(self, function: ast.FunctionDef) -> None:
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                texts = [value for value in _values(node.value, self._constants) if isinstance(value, str)]
                if not texts:
                    self._remark(node.value, "the SOQL is not written out there: name its objects with --object")
                for text in texts:
                    self._add("soql", text, node.value, ())

    def _fields(self, arguments: Mapping[str, ast.expr]) -> tuple[str, ...]:
        node = arguments.get("fields")
        return () if node is None else tuple(name for value in _values(node, self._constants) for name in _names(value))

    def _add(self, name: str, text: str, node: ast.expr, fields: tuple[str, ...]) -> None:
        try:
            if name == "sobject":
                plain = [field for field in fields if "." not in field]
                self._found.objects.append(ObjectAccess.parse(f"{text}:{','.join(plain)}" if plain else text))
                parents = [field for field in fields if "." in field]
            else:
                query = scan(text)
                self._found.objects.append(ObjectAccess.parse(query.sobject))
                parents = [item.text for item in query.items if "." in item.text]
                self._remark(node, f"the SOQL reads {query.sobject}: all of its fields are granted")
        except (SalesforceError, ValueError) as problem:
            self._remark(node, f"{text!r} was not understood ({problem})")
            return
        if parents:
            self._remark(node, f"{', '.join(parents)} are read from parents: name these objects with --object too")

    def _remark(self, node: ast.expr, sentence: str) -> None:
        self._found.remarks.append(f"{self._path}, line {node.lineno}: {sentence}.")


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    """The arguments by name, those in a dict written out after `**` too."""
    found = {each.arg: each.value for each in call.keywords if each.arg is not None}
    for each in call.keywords:
        if each.arg is None and isinstance(each.value, ast.Dict):
            for key, value in zip(each.value.keys, each.value.values):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    found.setdefault(key.value, value)
    return found


def _hides_arguments(call: ast.Call) -> bool:
    """Whether arguments come from a name or a call after `**`."""
    return any(each.arg is None and not isinstance(each.value, ast.Dict) for each in call.keywords)


def _partial_of(node: ast.AST) -> ast.Call | None:
    """The `….partial(…)` of `….partial(…).expand(…)` or `….expand_kwargs(…)`; None for anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return None
    if node.func.attr not in ("expand", "expand_kwargs"):
        return None
    return node.func.value if isinstance(node.func.value, ast.Call) else None


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_task_soql(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, ast.Attribute) and target.attr == "soql"


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in _members(value) if isinstance(name, str))
