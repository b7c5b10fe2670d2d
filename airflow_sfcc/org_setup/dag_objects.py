"""Which objects a DAG file extracts, read from its text. The file is not run: a DAG may do anything when imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sfcc.errors import ConfigurationError, SalesforceError
from airflow_sfcc.org_setup.access import ObjectAccess
from airflow_sfcc.salesforce import soql

_VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
"""A template in the place of a value."""


@dataclass
class Found:
    """The objects of a DAG file, and a sentence for each place that does not say which objects it means.

    The fields of an object, where not all are read, are those that land and those that only conditions read; `filters` has the
    latter of each object, whatever lands.
    """

    objects: list[ObjectAccess] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    filters: list[ObjectAccess] = field(default_factory=list)


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


class _Read:
    """What extracts of one object read: its own fields, paths to parents, relationships to children, and other objects."""

    def __init__(self, fields: Iterable[str] = ()) -> None:
        self.own: tuple[str, ...] = ()
        self.filters: tuple[str, ...] = ()
        self.parents: tuple[str, ...] = ()
        self.children: tuple[str, ...] = ()
        self.others: list[ObjectAccess] = []
        for each in fields:
            self._path(each)

    def add(self, query: str, *, with_items: bool) -> None:
        """A query, with what it selects or by its conditions alone. Raises QueryError for what is none."""
        whole = soql.scan(query)
        for item in whole.items if with_items else ():
            if item.kind in ("field", "function") and "." in item.text:
                self._path(whole.without_alias(item.innermost or item.text))
            elif item.kind == "typeof":
                for relationship in soql.words(item.text)[1:2]:
                    self._path(f"{relationship}.Name")
        others: dict[str, list[str]] = {}
        for scope in soql.inner_queries(query):
            if scope.is_child:
                self.children = (*dict.fromkeys((*self.children, scope.query.sobject)),)
            else:
                items = [scope.query.without_alias(item.innermost or item.text) for item in scope.query.items]
                others.setdefault(scope.query.sobject, []).extend(items)
        for path, scope in soql.filter_fields(query):
            path = scope.query.without_alias(path)
            if scope.outer is None:
                self._path(path)
                self.filters += () if "." in path else (path,)
            elif not scope.is_child:
                others[scope.query.sobject].append(path)
        for sobject, paths in others.items():
            inner = _Read(paths)
            self.others.append(ObjectAccess(sobject, inner.own))
            self.parents += tuple(f"{sobject}.{path}" for path in inner.parents)

    def _path(self, path: str) -> None:
        if "." in path:
            self.parents = (*dict.fromkeys((*self.parents, path)),)
        elif path.lower() not in (name.lower() for name in self.own):
            self.own = (*self.own, path)


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
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
                _is_task_soql(each) for each in node.decorator_list
            ):
                self._soql_function(node)
        return self._found

    def _call(self, call: ast.Call) -> None:
        arguments = _keywords(call)
        if _name_of(call.func) == "SalesforceRecordsTrigger":
            arguments = {**dict(zip(("sobject", "where", "cursor_field"), call.args)), **arguments}
        if _name_of(call.func) == "salesforce_sync":
            self._sync(call, arguments)
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

    def _sync(self, call: ast.Call, arguments: Mapping[str, ast.expr]) -> None:
        """The objects that a sync names, and those that its conditions read."""
        patterns = self._texts(arguments["objects"]) if "objects" in arguments else []
        if not patterns or any(re.search(r"[*?!]", each) for each in patterns):
            self._remark(
                call, "salesforce_sync takes objects by patterns, which only the org resolves: name them with --object"
            )
        given = _values(arguments["where"], self._constants) if "where" in arguments else []
        conditions = {str(name): text for each in given if isinstance(each, dict) for name, text in each.items()}
        for name in dict.fromkeys([*patterns, *conditions]):
            if not re.search(r"[*?!]", name):
                of_name = [text for key, text in conditions.items() if key.lower() == name.lower()]
                self._add("sobject", name, call, (), [text for text in of_name if isinstance(text, str)])

    def _argument(self, name: str, arguments: Mapping[str, ast.expr], *, mapped: bool) -> None:
        node = arguments[name]
        values = _values(node, self._constants)
        if mapped:
            values = [member for value in values for member in _members(value)]
        texts = [value for value in values if isinstance(value, str)]
        if not texts and not _is_none(node):
            self._remark(node, f"{name} is not written out there: name its objects with --object")
        fields = self._fields(arguments)
        conditions = self._conditions(arguments)
        for text in texts:
            self._add(name, text, node, fields, conditions)

    def _each_kwargs(self, node: ast.expr, common: Mapping[str, ast.expr]) -> None:
        entries = [entry for value in _values(node, self._constants) for entry in _members(value)]
        if not entries:
            self._remark(node, "the mapped arguments are not written out there: name their objects with --object")
        for entry in entries:
            for name in ("sobject", "soql"):
                text = entry.get(name) if isinstance(entry, dict) else None
                if isinstance(text, str):
                    fields = _names(entry.get("fields")) or self._fields(common)
                    own = [entry["where"]] if isinstance(entry.get("where"), str) else self._conditions(common)
                    self._add(name, text, node, fields, own)

    def _soql_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                texts = [value for value in _values(node.value, self._constants) if isinstance(value, str)]
                if not texts:
                    self._remark(node.value, "the SOQL is not written out there: name its objects with --object")
                for text in texts:
                    self._add("soql", text, node.value, (), ())

    def _fields(self, arguments: Mapping[str, ast.expr]) -> tuple[str, ...]:
        """The fields that land, and the cursor where one is named; none where all of the object's do."""
        node = arguments.get("fields")
        if node is None:
            return ()
        cursor = self._texts(arguments["cursor_field"]) if "cursor_field" in arguments else []
        return (*(name for value in _values(node, self._constants) for name in _names(value)), *cursor)

    def _conditions(self, arguments: Mapping[str, ast.expr]) -> list[str]:
        """The texts that `where` may have. What is not written out matters only where not all fields are granted."""
        node = arguments.get("where")
        found = [] if node is None else self._texts(node)
        if node is not None and not found and "fields" in arguments and not _is_none(node):
            self._remark(node, "where is not written out there: name the fields that it reads with --object")
        return found

    def _texts(self, node: ast.expr) -> list[str]:
        values = _values(node, self._constants)
        return [text for value in values for text in ([value] if isinstance(value, str) else _names(value))]

    def _add(self, name: str, text: str, node: ast.expr, fields: tuple[str, ...], conditions: Sequence[str]) -> None:
        read = _Read(fields)
        try:
            if name == "sobject":
                sobject = text
                self._add_conditions(read, sobject, node, conditions)
            else:
                sobject = soql.scan(text).sobject
                read.add(text, with_items=True)
            own = read.own if fields else ()
            self._found.objects.append(ObjectAccess.parse(f"{sobject}:{','.join(own)}" if own else sobject))
        except (SalesforceError, ValueError) as problem:
            self._remark(node, f"{text!r} was not understood ({problem})")
            return
        if read.filters:
            self._found.filters.append(ObjectAccess(sobject, read.filters))
        if name == "soql":
            self._remark(node, f"the SOQL reads {sobject}: all of its fields are granted")
        self._found.objects += read.others
        for each in read.others:
            self._remark(node, f"a condition reads {', '.join(each.fields)} of {each.sobject}, which is granted too")
        if read.children:
            self._remark(
                node, f"child records ({', '.join(read.children)}) are read: name their objects with --object too"
            )
        if read.parents:
            parents = ", ".join(read.parents)
            self._remark(node, f"{parents} are read from parents: name these objects with --object too")

    def _add_conditions(self, read: _Read, sobject: str, node: ast.expr, conditions: Sequence[str]) -> None:
        for each in conditions:
            condition = _VALUE.sub("x", each)
            if "{%" in condition or condition.strip() == "x":
                if read.own:
                    self._remark(node, f"where of {sobject} is a template: name the fields that it reads with --object")
                continue
            try:
                read.add(soql.select(sobject, ["Id"], condition), with_items=False)
            except SalesforceError as problem:
                self._remark(node, f"where of {sobject} was not understood ({problem.message})")

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


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in _members(value) if isinstance(name, str))
