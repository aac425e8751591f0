"""Two runs side by side on the terminal, or as JSON."""

from typing import TYPE_CHECKING, Any

import orjson

from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import console, say, write_json, write_line, write_rows, write_table
from ledgent.dashboard.diff import Comparison, Row, Side, Step
from ledgent.dashboard.timeline import one_line, took

if TYPE_CHECKING:
    from rich.text import Text

NEAR = 2
"""Equal steps that are shown before and after one that is not."""
TEXT_CHARACTERS = 400


def write_comparison(compared: Comparison, output: Output, *, every: bool) -> None:
    """The two runs: their figures, their settings where they differ, and their steps."""
    if output is Output.JSON:
        write_json(as_json(compared))
        return
    if output is Output.JSONL:
        write_rows([_row_as_json(number, row) for number, row in enumerate(compared.rows, 1)], output)
        return
    _write_figures(compared)
    if compared.settings:
        _heading("Settings")
        write_table(
            ("setting", "first", "second"),
            [(name, _in_short(one), _in_short(other)) for name, one, other in compared.settings],
            wide="second",
        )
    _heading("The steps are the same" if compared.parts_at is None else f"They part at step {compared.parts_at + 1}")
    _write_steps(compared, every=every)


def as_json(compared: Comparison) -> dict[str, Any]:
    """The comparison as JSON-able values; steps are numbered from 1."""
    return {
        "first": _side_as_json(compared.first),
        "second": _side_as_json(compared.second),
        "settings": {name: {"first": one, "second": other} for name, one, other in compared.settings},
        "parts_at": None if compared.parts_at is None else compared.parts_at + 1,
        "steps": [_row_as_json(number, row) for number, row in enumerate(compared.rows, 1)],
    }


def _side_as_json(side: Side) -> dict[str, Any]:
    origin = side.forked_from.model_dump(mode="json") if side.forked_from else None
    return {
        "run_id": side.run_id,
        "status": side.status,
        "forked_from": origin,
        "model_calls": side.model_calls,
        "tool_calls": side.tool_calls,
        "reused": side.reused,
        **side.total._asdict(),
    }


def _row_as_json(number: int, row: Row) -> dict[str, Any]:
    return {"step": number, "mark": row.mark, "first": _step_as_json(row.first), "second": _step_as_json(row.second)}


def _step_as_json(step: Step | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "role": step.role,
        "seq": step.seq,
        "text": step.text,
        "tool": _call_as_json(step.tool) if step.tool else None,
        "calls": [_call_as_json(call) for call in step.calls],
        "origin": step.origin,
        **step.figures._asdict(),
    }


def _call_as_json(call: Any) -> dict[str, str]:
    return {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}


def _write_figures(compared: Comparison) -> None:
    first, second = compared.first, compared.second
    one, other = first.total, second.total
    rows: list[tuple[str, Any, Any, str]] = [
        ("run", first.run_id, second.run_id, ""),
        ("status", first.status, second.status, ""),
        *(
            (name, f"{mine:,}", f"{its:,}", f"{its - mine:+,}")
            for name, mine, its in (
                ("model calls", first.model_calls, second.model_calls),
                ("tool calls", first.tool_calls, second.tool_calls),
                ("reused results", first.reused, second.reused),
                ("tokens in", one.input_tokens, other.input_tokens),
                ("tokens out", one.output_tokens, other.output_tokens),
            )
        ),
        ("cost", _money(one.cost_usd, one.cost_known), _money(other.cost_usd, other.cost_known),
         f"{other.cost_usd - one.cost_usd:+.4f}"),
        ("took", took(one.took_ms), took(other.took_ms), ""),
    ]  # fmt: skip
    write_table(("", "first", "second", "second - first"), rows)
    for side, another in ((first, second), (second, first)):
        if side.forked_from and side.forked_from.run_id == another.run_id:
            say(f"Run {side.run_id} began from the other at record {side.forked_from.seq}.")


def _write_steps(compared: Comparison, *, every: bool) -> None:
    shown = {
        near
        for place, row in enumerate(compared.rows)
        if every or row.mark != "same"
        for near in range(place - NEAR, place + NEAR + 1)
    }
    hidden = 0
    for place, row in enumerate(compared.rows):
        if place not in shown:
            hidden += 1
            continue
        hidden = _say_hidden(hidden)
        for sign, style, step in _lines(row):
            write_line(_line(place + 1, sign, style, step))
    _say_hidden(hidden)


def _say_hidden(count: int) -> int:
    if count:
        say(f"     ... {count:,} equal {'step' if count == 1 else 'steps'}")
    return 0


def _lines(row: Row) -> list[tuple[str, str, Step]]:
    if row.mark == "same" and row.second is not None:
        return [(" ", "", row.second)]
    sides = (("-", "red", row.first), ("+", "green", row.second))
    return [(sign, style, step) for sign, style, step in sides if step is not None]


def _line(number: int, sign: str, style: str, step: Step) -> "Text":
    from rich.text import Text

    text = Text(f"{number:>4} ", style="dim")
    text.append(f"{sign} ", style=style)
    text.append(f"#{step.seq:<4} ", style="dim")
    text.append(f"{step.role:<9} ", style=style)
    text.append(one_line(step_in_words(step), TEXT_CHARACTERS), style=style)
    if figures := figures_in_words(step):
        text.append(f"  {figures}", style="dim")
    return text


def step_in_words(step: Step) -> str:
    """What was said, called or returned."""
    calls = [f"{call.name}({call.arguments})" for call in step.calls]
    told = [f"{step.tool.name} gave {step.text}"] if step.tool else [step.text] if step.text else []
    return "; ".join([*told, *calls])


def figures_in_words(step: Step) -> str:
    """What the step took, and whose it is."""
    figures = step.figures
    used = f"{figures.input_tokens:,} → {figures.output_tokens:,} tokens"
    words = [
        "" if step.origin == "own" else step.origin,
        f"{figures.attempts} attempts" if figures.attempts > 1 else "",
        used if figures.input_tokens or figures.output_tokens else "",
        _money(figures.cost_usd, figures.cost_known) if figures.cost_usd else "",
        took(figures.took_ms) if figures.took_ms else "",
    ]
    return ", ".join(word for word in words if word)


def _money(dollars: float, known: bool) -> str:
    if not known and not dollars:
        return "unknown"
    return f"${dollars:.4f}" + ("" if known else " or more")


def _in_short(value: Any) -> str:
    return one_line(value if isinstance(value, str) else orjson.dumps(value).decode(), TEXT_CHARACTERS)


def _heading(text: str) -> None:
    from rich.text import Text

    console().print(Text(f"\n{text}", style="bold"))
