"""People's SQL: what of it may run, and the text that runs. Pure; the limits it runs under are the store's."""

import logging
from collections.abc import Iterator

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from ledgent.processors.sql_functions import is_allowed
from ledgent.schemas.errors import SqlRefused

LONGEST = 100_000

_DIALECT = "clickhouse"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a query may consist of. Anything else, known or yet to come, is refused.
_NODES = (
    exp.Alias, exp.Array, exp.Between, exp.Binary, exp.Boolean, exp.Bracket, exp.Case, exp.Column, exp.CTE, exp.Cube,
    exp.DataType, exp.DataTypeParam, exp.Distinct, exp.Except, exp.Filter, exp.Final, exp.From, exp.Func, exp.Group,
    exp.GroupingSets, exp.Having, exp.Identifier, exp.IgnoreNulls, exp.In, exp.Intersect, exp.Interval, exp.Is,
    exp.Join, exp.JSONPath, exp.JSONPathPart, exp.Lambda, exp.Limit, exp.Literal, exp.Null, exp.Offset, exp.Order,
    exp.Ordered, exp.PreWhere, exp.Qualify, exp.RawString, exp.RespectNulls, exp.Rollup, exp.Select, exp.Slice,
    exp.Star, exp.Struct, exp.Subquery, exp.Table, exp.TableAlias, exp.Tuple, exp.Unary, exp.Union, exp.Var, exp.Where,
    exp.Window, exp.WindowSpec, exp.With, exp.WithFill,
)  # fmt: skip
# What a query may be made of: no INTO, FORMAT, SETTINGS or SAMPLE among them.
_QUERY_PARTS = frozenset({
    "alias", "distinct", "expression", "expressions", "from_", "group", "having", "joins", "limit", "offset", "order",
    "prewhere", "qualify", "this", "where", "windows", "with_",
})  # fmt: skip
_TABLE_PARTS = frozenset({"this", "alias", "joins"})
# What stands before an opening bracket without calling anything: with a space between, and without.
_SYNTAX = _words("""
    ALL AND ANTI ANY AS ASOF BETWEEN BY CASE CUBE DISTINCT DIV ELSE EXCEPT FROM HAVING ILIKE IN INTERSECT IS JOIN
    LIKE LIMIT NOT OFFSET ON OR OVER PREWHERE QUALIFY REPLACE ROLLUP SELECT SEMI SETS THEN UNION USING WHEN WHERE XOR
""")
_SYNTAX_TOUCHING = frozenset({"COLUMNS", "EXISTS", "FILTER"})
_NO_CALL = frozenset({
    TokenType.L_PAREN, TokenType.R_PAREN, TokenType.L_BRACKET, TokenType.COMMA, TokenType.PLUS, TokenType.DASH,
    TokenType.STAR, TokenType.SLASH, TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT,
    TokenType.GTE, TokenType.ARROW, TokenType.DPIPE, TokenType.DCOLON, TokenType.PERCENT,
})  # fmt: skip

# A statement of an unknown kind is refused below; sqlglot's own remark about it would only clutter the terminal.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())


def checked_select(sql: str, *, tables: frozenset[str]) -> str:
    """The statement to run: written anew from what was understood, so that what runs is what was checked.

    Raises SqlRefused unless `sql` is one SELECT (WITH and UNION included) over `tables`, with functions of the
    list only.
    """
    if len(sql) > LONGEST:
        raise SqlRefused(f"the statement is longer than {LONGEST:,} characters")
    try:
        written = _written(_one_query(sql))
        query = _one_query(written)
        if _written(query) != written:
            raise SqlRefused("the statement cannot be written back as it was read; say it in a simpler way")
        _check(query, written, tables)
    except SqlglotError as error:
        raise SqlRefused(f"the statement cannot be read as a SELECT: {_described(error)}") from error
    except RecursionError as error:
        raise SqlRefused("the statement is nested too deeply") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The parser stumbles over some nonsense instead of naming it.
        raise SqlRefused("the statement cannot be read as a SELECT") from error
    return written


def _one_query(sql: str) -> exp.Expr:
    for token in sqlglot.tokenize(sql, read=_DIALECT):
        # The engine takes typographic quotes for quotes; nothing outside ours may be one.
        if token.token_type not in (TokenType.STRING, TokenType.HEREDOC_STRING) and not token.text.isprintable():
            raise SqlRefused("the statement holds a control character outside a string")
        if token.token_type is TokenType.VAR and not token.text.isascii():
            raise SqlRefused(f"{token.text!r} is not ASCII: put names in double quotes and text in single ones")
    statements = [statement for statement in sqlglot.parse(sql, read=_DIALECT) if statement is not None]
    if len(statements) != 1:
        raise SqlRefused(f"exactly one statement is allowed, and there are {len(statements)}")
    if not isinstance(statements[0], exp.Query):
        raise SqlRefused(f"only SELECT is allowed, and this is {_shown(statements[0])}")
    for ordered in statements[0].find_all(exp.Ordered):
        name = ordered.this.this if isinstance(ordered.this, exp.Column) else None
        if isinstance(name, exp.Identifier) and not name.quoted and name.name.upper() == "ALL":
            ordered.this.replace(exp.Var(this="ALL"))  # ORDER BY ALL, whose ALL must not be quoted as a name
    return statements[0]


def _written(query: exp.Expr) -> str:
    return query.sql(dialect=_DIALECT, comments=False, identify=True)


def _check(query: exp.Expr, written: str, tables: frozenset[str]) -> None:
    for node in query.walk():
        if not isinstance(node, _NODES):
            raise SqlRefused(f"{_shown(node)} is not allowed")
        if isinstance(node, exp.Query):
            _check_parts(node, _QUERY_PARTS)
        elif isinstance(node, exp.Table):
            _check_table(node, tables)
        elif isinstance(node, exp.From | exp.Join):
            _check_source(node)
        elif isinstance(node, exp.In):
            _check_in(node)
        elif isinstance(node, exp.With) and node.args.get("recursive"):
            raise SqlRefused("WITH RECURSIVE is not allowed")
        elif isinstance(node, exp.Identifier) and (set(node.name) & set('"\\`') or not node.name.isprintable()):
            raise SqlRefused(
                f"the name {node.name!r} is not allowed: it holds a quote, a backslash or a control character"
            )
        elif isinstance(node, exp.Var) and not (node.name.isascii() and node.name.isidentifier()):
            raise SqlRefused(f"{node.name!r} is not allowed")
    for name in _called(sqlglot.tokenize(written, read=_DIALECT)):
        if not is_allowed(name):
            raise SqlRefused(f"the function {name}() is not on the list of allowed ones")


def _check_parts(node: exp.Expr, allowed: frozenset[str]) -> None:
    for name, part in node.args.items():
        if part and name not in allowed:
            raise SqlRefused(f"{name.strip('_').upper().replace('_', ' ')} is not allowed in {_shown(node)}")


def _check_table(table: exp.Table, tables: frozenset[str]) -> None:
    shown = ", ".join(sorted(tables))
    if not isinstance(table.this, exp.Identifier):
        raise SqlRefused(f"table functions are not allowed, as in {_shown(table)}; the tables are {shown}")
    if table.args.get("db") or table.args.get("catalog"):
        raise SqlRefused(f"{_shown(table)}: name tables without a database; the tables are {shown}")
    _check_parts(table, _TABLE_PARTS)
    if table.name not in tables and table.name not in set(_with_names(table)):
        raise SqlRefused(f"there is no table {table.name!r} to ask; the tables are {shown}")


def _with_names(node: exp.Expr) -> Iterator[str]:
    """The names that WITH gives to queries, as far as they can be seen from here: inside WITH, only earlier ones.

    Otherwise `WITH t AS (SELECT * FROM t)` would open a table of that name.
    """
    child, parent = node, node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            seen = parent.expressions[: parent.expressions.index(child)]
        else:
            with_ = parent.args.get("with_")
            seen = with_.expressions if with_ is not None and with_ is not child else []
        yield from (cte.alias for cte in seen if not cte.args.get("scalar"))
        child, parent = parent, parent.parent


def _check_source(clause: exp.Expr) -> None:
    source = clause.this
    if isinstance(clause, exp.Join) and clause.args.get("kind") == "ARRAY":
        return  # what follows ARRAY JOIN are expressions
    if isinstance(source, exp.Final):
        source = source.this
    if not isinstance(source, exp.Table | exp.Subquery):
        raise SqlRefused(f"only tables and subqueries can be read from, not {_shown(source)}")


def _check_in(node: exp.In) -> None:
    """The right side of IN holds values or a query: a bare name there would be a table to the engine."""
    for side in (node.args.get("field"), node.args.get("unnest"), *node.expressions):
        if side is None:
            continue
        if any(isinstance(part, exp.Column | exp.Identifier | exp.Dot) for part in side.walk()):
            raise SqlRefused(f"{_shown(node)}: IN takes a list of values or a SELECT in brackets")


def _called(tokens: list[Token]) -> Iterator[str]:
    """The words before an opening bracket, which in the written statement are functions, types or syntax."""
    for i, token in enumerate(tokens[1:], start=1):
        before = tokens[i - 1]
        if token.token_type is not TokenType.L_PAREN or before.token_type in _NO_CALL:
            continue
        touching = before.end + 1 == token.start
        syntax = _SYNTAX_TOUCHING if touching else _SYNTAX
        if before.token_type is TokenType.IDENTIFIER or before.text.upper() not in syntax:
            # To the engine a dot belongs to the function's name.
            dotted = i > 1 and tokens[i - 2].token_type is TokenType.DOT
            yield f".{before.text}" if dotted else before.text


def _shown(node: exp.Expr) -> str:
    text = " ".join(node.sql(dialect=_DIALECT, comments=False).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _described(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0]
    first = details[0]
    return f"{first.get('description', 'syntax error')} (line {first.get('line')}, column {first.get('col')})"
