"""`--where`: a condition on one row, written in SQL, that can do nothing but decide about that row.

DuckDB parses the condition, and the tree of the whole query is checked: without the condition it must be the plain query, and
the condition may consist of columns, constants, operators and functions of one row only. The query that runs is made from the
checked tree, not from the text, so nothing that the check has not seen can reach the database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fakecore.errors import UserError, unknown_name

if TYPE_CHECKING:
    import duckdb

EXAMPLE = "a condition such as p_fake > 0.9 and path like '%/inbox/%'"
_PLAIN = {"COMPARISON", "CONJUNCTION", "CONSTANT", "OPERATOR", "CAST", "BETWEEN", "CASE", "TYPE"}
_NAMES = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "*", "LAMBDA": "a lambda"}


def selection(connection: duckdb.DuckDBPyConnection, table: str, condition: str, columns: Sequence[str]) -> str:
    """Return the query of the rows of `table` that meet a condition on `columns`.

    Raises UserError for what does not parse, for an unknown column, and for anything but an expression on one row.
    """
    wanted = _parsed(connection, f"SELECT * FROM {table} WHERE {condition}\n")
    plain = _parsed(connection, f"SELECT * FROM {table} WHERE true\n")
    if len(wanted["statements"]) != 1 or _without_condition(wanted) != _without_condition(plain):
        raise UserError("--where is more than a condition", got=condition, expected=EXAMPLE)
    allowed = _functions(connection)
    for one in _expressions(wanted["statements"][0]["node"]["where_clause"]):
        _check(one, columns, allowed)
    tree = json.dumps(wanted)
    return _only(connection.execute("SELECT json_deserialize_sql(?::JSON)", [tree]).fetchone())


def _parsed(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    tree = json.loads(_only(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()))
    if tree["error"]:
        raise UserError("--where is not a valid condition", got=tree["error_message"], expected=EXAMPLE)
    return tree


def _without_condition(tree: dict[str, Any]) -> dict[str, Any]:
    statement = tree["statements"][0]
    return statement | {"node": statement["node"] | {"where_clause": None}}


def _expressions(tree: Any):
    """Yield each expression of a tree, the outer ones first."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        tree = list(tree.values())
    for one in tree if isinstance(tree, list) else ():
        yield from _expressions(one)


def _check(one: dict[str, Any], columns: Sequence[str], allowed: set[str]) -> None:
    kind = one["class"]
    if kind == "COLUMN_REF":
        name = ".".join(one["column_names"])
        if name.lower() not in columns:
            raise unknown_name("column", name, columns, where="(text is written in single quotes)")
    elif kind == "FUNCTION":
        if one["function_name"].lower() not in allowed:
            raise UserError(
                f"--where cannot use {one['function_name']}()", expected="functions of one row, such as lower"
            )
    elif kind not in _PLAIN:
        raise UserError("--where is not a condition on one row", got=_NAMES.get(kind, kind.lower()), expected=EXAMPLE)


def _functions(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of functions whose value depends on their arguments only; none reads files, settings or the clock."""
    query = (
        "SELECT function_name FROM duckdb_functions() GROUP BY function_name HAVING bool_and(function_type = 'scalar')"
        " AND bool_or(stability = 'CONSISTENT') AND NOT bool_or(stability = 'VOLATILE' OR has_side_effects)"
    )
    return {name for (name,) in connection.execute(query).fetchall()}


def _only(found: tuple | None) -> Any:
    assert found, "a query without FROM has one row"
    return found[0]
