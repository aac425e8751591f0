"""What tools of every trade do: ask a run's records, change them once, hand over to a person."""

import json
from collections.abc import Callable
from typing import Any

from examples.customer_service import arithmetic
from examples.customer_service.records import Database, RunRecords
from ledgent.agent import ToolContext, tool


def ask(records: RunRecords, context: ToolContext, question: Callable[[Database], Any]) -> str:
    """What the run's records answer: a text as it is, anything else as JSON."""
    return _told(question(records.read(context.run_id)))


def change(records: RunRecords, context: ToolContext, made: Callable[[Database], Any]) -> str:
    """As `ask`, for what changes records. A call made again after a crash gets the same answer and does nothing."""
    with records.write(context.run_id) as database:
        if context.idempotency_key not in database.answers:
            database.answers[context.idempotency_key] = _told(made(database))
        return database.answers[context.idempotency_key]


def _told(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


@tool(idempotent=True)
def calculate(expression: str) -> str:
    """Calculate the result of a mathematical expression.

    Args:
        expression: The mathematical expression to calculate, such as '2 + 2'. The expression can contain
            numbers, operators (+, -, *, /), parentheses, and spaces.
    """
    return arithmetic.calculate(expression)


@tool(ends_run=True, idempotent=True)
def transfer_to_human_agents(summary: str) -> str:
    """Transfer the user to a human agent, with a summary of the user's issue. Only transfer if the user
    explicitly asks for a human agent, or if the user's issue cannot be resolved by the agent with the
    available tools.

    Args:
        summary: A summary of the user's issue.
    """
    return "Transfer successful"
