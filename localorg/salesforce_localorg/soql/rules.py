"""What SOQL forbids whatever the schema: which clauses go together, and how many of each.

Source: SOQL and SOSL Reference, the considerations of each clause. Messages are Salesforce's where they are known.
"""

from __future__ import annotations

from collections.abc import Iterator

from salesforce_localorg.soql.ast import (
    Call,
    CallItem,
    ChildItem,
    Condition,
    Conjunction,
    Disjunction,
    FieldItem,
    Negation,
    Operand,
    Query,
    SemiJoin,
    TypeOfItem,
)
from salesforce_localorg.soql.errors import SoqlError, at_position, unsupported
from salesforce_localorg.soql.functions import grouping_keys, is_aggregate, is_date_function, totals_of

MAX_OFFSET = 2000  # salesforce-protocol.md#rest-queries
MAX_CHILDREN = 20  # salesforce-protocol.md#rest-queries
MAX_LEVELS = 5  # "Understanding Relationship Query Limitations"; version 58.0 and later
MAX_SEMI_JOINS = 2  # "Considerations for Semi-Join and Anti-Join Queries"
MAX_TOTALS = 3  # "GROUP BY ROLLUP": up to three fields

_NEVER_COMPARED = frozenset({"CONVERTCURRENCY", "FORMAT"})  # "convertCurrency()"
_NEVER_SORTED = frozenset({"CONVERTCURRENCY", "FORMAT", "TOLABEL"})  # "convertCurrency()" and "toLabel()"
_NO_INNER_SELECT = frozenset({"activityhistory", "attachment", "event", "note", "openactivity", "task"})


def check_rules(query: Query) -> None:
    """Raises SoqlError for a query that Salesforce would refuse for its clauses alone."""
    children = [item.query for item in query.select if isinstance(item, ChildItem)]
    if len(children) > MAX_CHILDREN:
        raise _refused(query, children[MAX_CHILDREN].sobject.at, _TOO_MANY_CHILDREN)
    _check_select(query)
    for child in children:
        _check_child(child, query, 2)


def is_count(query: Query) -> bool:
    """Whether the query is `SELECT COUNT() FROM ...`, which answers a number instead of rows."""
    return any(isinstance(item, CallItem) and _is_bare_count(item.call) for item in query.select)


def is_grouped(query: Query) -> bool:
    """Whether the query answers groups instead of records."""
    calls = (item.call for item in query.select if isinstance(item, CallItem))
    return bool(query.group_by) or any(is_aggregate(call) for call in calls)


def operands(condition: Condition | None) -> Iterator[Operand]:
    """What stands left of an operator anywhere in the condition."""
    if isinstance(condition, (Conjunction, Disjunction)):
        for term in condition.terms:
            yield from operands(term)
    elif isinstance(condition, Negation):
        yield from operands(condition.term)
    elif condition is not None:
        yield condition.operand


_TOO_MANY_CHILDREN = f"A query can have at most {MAX_CHILDREN} child subqueries"
_TOO_MANY_SEMI_JOINS = f"Maximum {MAX_SEMI_JOINS} semi join sub-selects are allowed in one WHERE clause"


def _refused(query: Query, at: int, message: str) -> SoqlError:
    return at_position(query.text, at, "MALFORMED_QUERY", message)


def _check_select(query: Query) -> None:
    """One SELECT with its clauses, without the subqueries in it."""
    if query.offset is not None and query.offset > MAX_OFFSET:
        raise SoqlError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
    if is_count(query):
        _check_count(query)
    elif is_grouped(query):
        _check_grouped(query)
    else:
        _check_records(query)
    _check_typeof(query)
    _check_functions(query)
    if query.order_by and "UPDATE" in query.purposes:
        raise _refused(query, query.order_by[0].operand.at, "ORDER BY can not be used with FOR UPDATE")
    _check_semi_joins(query)


def _check_functions(query: Query) -> None:
    """Functions that belong into other clauses; what they convert is compared and sorted as it is stored."""
    for operand in operands(query.where):
        if isinstance(operand, Call) and is_aggregate(operand):
            raise _refused(query, operand.at, f"{operand.name}: aggregate functions are not allowed in WHERE")
        if isinstance(operand, Call) and operand.function in _NEVER_COMPARED:
            raise _refused(query, operand.at, f"{operand.name} can not be used in WHERE")
    for item in query.order_by:
        if isinstance(item.operand, Call) and item.operand.function in _NEVER_SORTED:
            raise _refused(query, item.operand.at, f"{item.operand.name} can not be used in ORDER BY")


def _check_count(query: Query) -> None:
    first = next(item for item in query.select if isinstance(item, CallItem) and _is_bare_count(item.call))
    if len(query.select) > 1 or first.alias or query.group_by:
        raise _refused(query, first.call.at, "COUNT() must be the only element of the SELECT list")
    if query.order_by:
        raise _refused(query, query.order_by[0].operand.at, "COUNT() can not be used with ORDER BY")


def _check_grouped(query: Query) -> None:
    if query.limit is not None and not query.group_by:
        message = "Non-grouped query that uses overall aggregate functions cannot also use LIMIT"
        raise _refused(query, query.sobject.at, message)
    _check_totals(query)
    for item in query.select:
        if isinstance(item, ChildItem):
            raise unsupported(query.text, item.query.sobject.at, "A subquery in an aggregate query")
        if isinstance(item, CallItem) and item.call.function == "FIELDS":
            raise _refused(query, item.call.at, "Field must be grouped or aggregated")
    if any(isinstance(term, SemiJoin) for term in _terms(query.having)):
        raise _refused(query, query.sobject.at, "Semi join sub-selects are not allowed in HAVING")


def _check_totals(query: Query) -> None:
    """ROLLUP and CUBE stand alone and take up to three fields; only with one of them does GROUPING mean anything."""
    totals = totals_of(query.group_by)
    if totals is not None and len(query.group_by) > 1:
        raise _refused(query, totals.at, f"GROUP BY and GROUP BY {totals.function} can not be combined")
    if totals is not None and len(grouping_keys(query.group_by)) != len(totals.arguments):
        raise _refused(query, totals.at, f"GROUP BY {totals.function} takes fields and date functions only")
    if totals is not None and not 0 < len(totals.arguments) <= MAX_TOTALS:
        raise _refused(query, totals.at, f"GROUP BY {totals.function} takes one to {MAX_TOTALS} fields")
    for item in query.select:
        if isinstance(item, CallItem) and item.call.function == "GROUPING" and totals is None:
            raise _refused(query, item.call.at, f"{item.call.name} takes GROUP BY ROLLUP or GROUP BY CUBE")


def _check_records(query: Query) -> None:
    for item in query.select:
        if isinstance(item, FieldItem) and item.alias:
            raise _refused(query, item.path.at, "only aggregate expressions use field aliasing")
        if isinstance(item, CallItem) and is_date_function(item.call):
            message = f"Field must be grouped or aggregated: {item.call.name}"
            raise _refused(query, item.call.at, message)
    for order in query.order_by:
        if isinstance(order.operand, Call) and is_aggregate(order.operand):
            message = f"{order.operand.name}: ordering by an aggregate takes GROUP BY"
            raise _refused(query, order.operand.at, message)


def _check_typeof(query: Query) -> None:
    found = [item for item in query.select if isinstance(item, TypeOfItem)]
    if not found:
        return
    if is_count(query) or is_grouped(query) or any(isinstance(item, CallItem) for item in query.select):
        message = "TYPEOF can not be used in a query with functions, GROUP BY or HAVING"
        raise _refused(query, found[0].path.at, message)
    chosen = {str(item.path).lower() for item in found}
    for item in query.select:
        if isinstance(item, FieldItem) and ".".join(item.path.parts[:-1]).lower() in chosen:
            message = f"The relationship {'.'.join(item.path.parts[:-1])} is already selected by TYPEOF"
            raise _refused(query, item.path.at, message)


def _check_child(child: Query, parent: Query, level: int) -> None:
    """A subquery on the `level`-th level of parents and children, of which the outer query is the first."""
    at = child.sobject.at
    nested = [item.query for item in child.select if isinstance(item, ChildItem)]
    if is_count(child) or is_grouped(child):
        raise unsupported(child.text, at, "An aggregate in a child subquery")
    if nested and level == MAX_LEVELS:
        raise _refused(
            child, nested[0].sobject.at, f"A query can have at most {MAX_LEVELS} levels of parents and children"
        )
    if child.offset is not None and parent.limit != 1:
        raise _refused(child, at, "OFFSET in a subquery is only allowed when the parent query has LIMIT 1")
    if child.scope is not None:
        raise _refused(child, child.scope.at, "USING SCOPE can not be used in a subquery")
    _check_select(child)
    for each in nested:
        _check_child(each, child, level + 1)


def _check_semi_joins(query: Query) -> None:
    top = query.where.terms if isinstance(query.where, Conjunction) else (query.where,)
    joins = [term for term in top if isinstance(term, SemiJoin)]
    for term in top:
        if not isinstance(term, SemiJoin):
            _refuse_nested_joins(query, term, "")
    if len(joins) > MAX_SEMI_JOINS:
        raise _refused(query, joins[MAX_SEMI_JOINS].query.sobject.at, _TOO_MANY_SEMI_JOINS)
    for join in joins:
        _check_inner(join.query)


def _refuse_nested_joins(query: Query, condition: Condition | None, within: str) -> None:
    for term in _children(condition):
        operator = {Disjunction: "OR", Negation: "NOT"}.get(type(condition), within)
        if isinstance(term, SemiJoin):
            message = (
                f"Semi join sub-selects are not allowed with the '{operator}' operator"
                if operator
                else "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE "
                "expressions"
            )
            raise _refused(query, term.query.sobject.at, message)
        _refuse_nested_joins(query, term, operator)


def _check_inner(inner: Query) -> None:
    at, name = inner.sobject.at, str(inner.sobject)
    if name.lower() in _NO_INNER_SELECT or name.endswith("Tag"):
        raise _refused(inner, at, f"Entity '{name}' is not supported for semi join inner selects")
    if len(inner.select) != 1 or not isinstance(inner.select[0], FieldItem):
        raise _refused(inner, at, "A semi join sub-select selects exactly one id or reference field")
    if any(isinstance(term, SemiJoin) for term in _terms(inner.where)):
        raise _refused(inner, at, "Nested semi join sub-selects are not supported")
    unfit = {
        "GROUP BY": inner.group_by,
        "ORDER BY": inner.order_by,
        "LIMIT": inner.limit is not None,
        "OFFSET": inner.offset is not None,
        "FOR": inner.purposes,
    }
    for clause, used in unfit.items():
        if used:
            raise _refused(inner, at, f"{clause} is not supported in semi join sub-selects")
    _check_select(inner)


def _terms(condition: Condition | None) -> Iterator[Condition]:
    """The condition and everything in it."""
    if condition is not None:
        yield condition
        for term in _children(condition):
            yield from _terms(term)


def _children(condition: Condition | None) -> tuple[Condition, ...]:
    if isinstance(condition, (Conjunction, Disjunction)):
        return condition.terms
    return (condition.term,) if isinstance(condition, Negation) else ()


def _is_bare_count(call: Call) -> bool:
    return call.function == "COUNT" and not call.arguments
