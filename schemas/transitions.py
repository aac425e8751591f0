"""Where a run and its calls can stand, and which event takes them on: tables, and their drawing.

The tests hold the reducers against these tables, both ways: they take these steps, and no others.
"""

from collections.abc import Mapping

from ledgent.schemas.state import Phase, Status

NONE = "none"
"""There is no such call, or none any more."""

RUN: dict[tuple[str, str], tuple[str, ...]] = {
    (Status.NEW, Status.RUNNING): ("run.started",),
    (Status.NEW, Status.FAILED): ("run.failed",),
    (Status.RUNNING, Status.SUSPENDED): ("run.suspended",),
    (Status.RUNNING, Status.COMPLETED): ("run.completed",),
    (Status.RUNNING, Status.FAILED): ("run.failed",),
    (Status.RUNNING, Status.CANCELLED): ("run.cancelled",),
    (Status.RUNNING, Status.LIMITED): ("run.limited",),
    (Status.SUSPENDED, Status.RUNNING): (
        "approval.denied",
        "approval.granted",
        "checkpoint.saved",
        "message.received",
        "question.answered",
        "run.cancel_requested",
        "run.claimed",
        "run.end_requested",
    ),
}
"""A run. `run.claimed` wakes one that was handed over; every other wait ends with what is waited for."""

MODEL_CALL: dict[tuple[str, str], tuple[str, ...]] = {
    (NONE, Phase.RUNNING): ("model_call.started",),
    (NONE, Phase.WAITING): ("rate_limit.waited",),
    (Phase.RUNNING, NONE): ("model_call.completed",),
    (Phase.RUNNING, Phase.FAILED): ("model_call.failed",),
    (Phase.RUNNING, Phase.LOST): ("run.claimed",),
    (Phase.LOST, Phase.FAILED): ("model_call.failed",),
    (Phase.FAILED, Phase.RUNNING): ("model_call.started",),
    (Phase.FAILED, Phase.WAITING): ("rate_limit.waited", "retry.scheduled"),
    (Phase.FAILED, Phase.DUE): ("context.trimmed", "model.fell_back"),
    (Phase.WAITING, Phase.DUE): ("timer.fired",),
    (Phase.DUE, Phase.WAITING): ("rate_limit.waited",),
    (Phase.DUE, Phase.RUNNING): ("model_call.started",),
    (Phase.RUNNING, Phase.SETTLED): ("model_call.completed",),
    (Phase.SETTLED, Phase.DUE): ("context.summarized", "context.trimmed"),
    (Phase.SETTLED, NONE): ("context.summarized", "context.trimmed"),
    (Phase.FAILED, NONE): ("context.trimmed",),
}
"""The model call under way. One that failed is made again at once only when its process had gone away, or with less to
send when it was refused for its length. A call for a summary is settled until that takes effect; then the call that had
been refused is due again, if one had been."""

TOOL_CALL: dict[tuple[str, str], tuple[str, ...]] = {
    (NONE, Phase.REQUESTED): ("model_call.completed", "model_call.tool_requested", "thought.recorded"),
    (Phase.REQUESTED, Phase.RUNNING): ("tool_call.started",),
    (Phase.REQUESTED, Phase.SETTLED): ("tool_call.rejected", "tool_call.reused"),
    (Phase.REQUESTED, NONE): ("model_call.failed",),
    (Phase.REQUESTED, Phase.HELD): ("approval.requested", "question.asked"),
    (Phase.HELD, Phase.DUE): ("approval.granted",),
    (Phase.HELD, Phase.SETTLED): ("approval.denied", "question.answered"),
    (Phase.RUNNING, Phase.SETTLED): ("tool_call.completed", "tool_call.failed"),
    (Phase.RUNNING, Phase.FAILED): ("tool_call.failed",),
    (Phase.RUNNING, Phase.LOST): ("run.claimed",),
    (Phase.LOST, Phase.FAILED): ("tool_call.failed", "tool_call.uncertain"),
    (Phase.LOST, Phase.HELD): ("tool_call.uncertain",),
    (Phase.LOST, Phase.SETTLED): ("tool_call.failed", "tool_call.uncertain"),
    (Phase.FAILED, Phase.RUNNING): ("tool_call.started",),
    (Phase.FAILED, Phase.WAITING): ("retry.scheduled",),
    (Phase.WAITING, Phase.DUE): ("timer.fired",),
    (Phase.DUE, Phase.RUNNING): ("tool_call.started",),
    (Phase.DUE, Phase.SETTLED): ("tool_call.rejected",),
}
"""A tool call of the last answer. Once all are settled, their answers join the messages.

One that an answer asks for before it is whole is dropped if the answer fails and the call has not begun.
"""


def mermaid(table: Mapping[tuple[str, str], tuple[str, ...]]) -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    left = {before for before, _ in table}
    first = Status.NEW if Status.NEW in left else NONE
    lines += [] if first is NONE else [f"    [*] --> {first}"]
    for (before, after), events in table.items():
        lines.append(f"    {_named(before)} --> {_named(after)}: {', '.join(events)}")
    lines += [f"    {after} --> [*]" for after in dict.fromkeys(after for _, after in table) if after not in left]
    return "\n".join(lines)


def _named(state: str) -> str:
    return "[*]" if state == NONE else str(state)


def document() -> str:
    """docs/states.md."""
    tables = {"A run": RUN, "A model call": MODEL_CALL, "A tool call": TOOL_CALL}
    parts = [f"## {name}\n\n```mermaid\n{mermaid(table)}\n```\n" for name, table in tables.items()]
    about = "Drawn from `schemas/transitions.py` by `ledgent schema states`; every arrow is an event of the log."
    return "\n".join([f"# States\n\n{about}\n", *parts])
