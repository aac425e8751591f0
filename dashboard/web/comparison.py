"""Two runs side by side, as markup. Pure: a comparison in, markup out."""

from collections.abc import Sequence
from typing import Any

from ledgent.dashboard.diff import Comparison, Figures, Row, Side, Step
from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.json_view import cut, pretty, pretty_text
from ledgent.dashboard.web.markup import Html, tag

TEXT_CHARACTERS = 4_000
"""Of one step on the page."""

_MARKS = {"same": "", "changed": "differs", "first_only": "only there", "second_only": "only here"}
_ROLES = {"user": "User", "assistant": "Assistant", "tool": "Tool", "end": "End"}


def comparison_head(compared: Comparison) -> Html:
    """Where they part, and the figures of both."""
    if compared.parts_at is None:
        said = f"All {len(compared.rows):,} steps are the same."
    else:
        said = f"They part at step {compared.parts_at + 1} of {len(compared.rows):,}."
    relations = [
        tag("div", f"{name} began from {other} at record {side.forked_from.seq}.", cls="lg-muted")
        for name, side, another, other in (
            ("This run", compared.second, compared.first, "the other"),
            ("The other run", compared.first, compared.second, "this one"),
        )
        if side.forked_from and side.forked_from.run_id == another.run_id
    ]
    table = tag(
        "div", *_figures("The other", compared.first), *_figures("This run", compared.second), cls="lg-compare-figures"
    )
    return tag("div", tag("div", said, cls="lg-headline"), *relations, table, cls="lg-compare-head")


def _figures(name: str, side: Side) -> list[Html]:
    total = side.total
    values = {
        name: side.run_id[-8:],
        "Status": side.status,
        "Model calls": figures.count(side.model_calls),
        "Tool calls": figures.count(side.tool_calls),
        "Reused": figures.count(side.reused),
        "Tokens": f"{figures.tokens(total.input_tokens)} in, {figures.tokens(total.output_tokens)} out",
        "Cost": figures.money(total.cost_usd, known=total.cost_known),
        "Took": figures.duration(total.took_ms),
    }
    cells = (
        tag("div", tag("div", label, cls="lg-label"), tag("div", value, cls="lg-value"), cls="lg-stat")
        for label, value in values.items()
    )
    return [tag("div", *cells, cls="lg-stats")]


def settings_list(settings: Sequence[tuple[str, Any, Any]]) -> Html:
    """What agents and limits differ in."""
    if not settings:
        return tag("div")
    rows = (
        tag(
            "div",
            tag("div", name, cls="lg-mono lg-path"),
            tag("pre", _shortened(f"- {pretty(one)}"), cls="lg-minus"),
            tag("pre", _shortened(f"+ {pretty(other)}"), cls="lg-plus"),
            cls="lg-change",
        )
        for name, one, other in settings
    )
    return tag("details", tag("summary", f"{len(settings)} settings differ"), *rows, cls="lg-fold")


def comparison_rows(compared: Comparison, first: int, count: int) -> Html:
    """So many of the steps, from this one on; the first that differs is marked."""
    rows = enumerate(compared.rows[first : first + count], first)
    return tag("div", *(_row(place, row, place == compared.parts_at) for place, row in rows), cls="lg-compare")


def _row(place: int, row: Row, parts: bool) -> Html:
    mark = "First divergence" if parts else _MARKS[row.mark]
    head = tag("div", tag("span", f"{place + 1}", cls="lg-seq"), tag("span", mark, cls="lg-mark"), cls="lg-rowhead")
    sides = (_step(row.first), _step(row.second))
    name = f"lg-comparerow lg-{row.mark.replace('_', '-')}{' lg-parts' if parts else ''}"
    return tag("div", head, *sides, cls=name)


def _step(step: Step | None) -> Html:
    if step is None:
        return tag("div", cls="lg-side lg-none")
    who = f"{_ROLES[step.role]} {step.tool.name}" if step.tool else _ROLES[step.role]
    origin = "" if step.origin == "own" else {"shared": "taken over", "reused": "reused"}[step.origin]
    small = (origin, *_facts(step.figures), f"#{step.seq}")
    head = tag("div", tag("b", who), *(tag("span", part, cls="lg-muted") for part in small if part), cls="lg-stephead")
    calls = (tag("pre", _shortened(f"{call.name} {call.arguments}"), cls="lg-code") for call in step.calls)
    text = tag("pre", _shortened(pretty_text(step.text)), cls="lg-text") if step.text else None
    return tag("div", head, text, *calls, cls="lg-side")


def _facts(took: Figures) -> list[str]:
    used = took.input_tokens or took.output_tokens
    return [
        f"{took.attempts} attempts" if took.attempts > 1 else "",
        f"{figures.tokens(took.input_tokens)} → {figures.tokens(took.output_tokens)} tokens" if used else "",
        figures.money(took.cost_usd, known=took.cost_known) if took.cost_usd else "",
        figures.duration(took.took_ms) if took.took_ms else "",
    ]


def _shortened(content: str) -> str:
    shown, missing = cut(content, TEXT_CHARACTERS)
    return f"{shown}… ({missing:,} more characters)" if missing else shown
