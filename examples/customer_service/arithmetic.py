"""Sums for the model: numbers, + - * / and brackets, parsed and never executed."""

import ast
import math
import operator
import re
from collections.abc import Callable

from ledgent.agent import ToolError

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def calculate(expression: str) -> str:
    """The value of the expression, rounded to cents."""
    if not re.fullmatch(r"[0-9+\-*/(). ]*", expression):
        raise ToolError("Error: invalid characters in expression")
    try:
        value = float(_value(ast.parse(expression.strip(), mode="eval").body))
    except ZeroDivisionError:
        raise ToolError("Error: division by zero") from None
    except OverflowError:
        raise ToolError("Error: the result is too large") from None
    # ValueError: a number of thousands of digits. The other two: thousands of nested brackets.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError("Error: invalid expression") from None
    if not math.isfinite(value):
        raise ToolError("Error: the result is too large")
    return str(round(value, 2))


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left), _value(right))
    raise SyntaxError("only numbers, + - * / and brackets")
