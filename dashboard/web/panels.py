"""The parts of the pages that are plain HTML, made with markup.py only. Pure: values in, markup out."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from ledgent.dashboard.web import format as figures
from ledgent.dashboard.web.conversation import ToolUse, Turn
from ledgent.dashboard.web.detail import Section
from ledgent.dashboard.web.explain import Explanation
from ledgent.dashboard.web.icons import SPAN_WORDS, STATUS_WORDS, tone
from ledgent.dashboard.web.json_view import JsonLine, cut, pretty, pretty_text
from ledgent.dashboard.web.markup import Html, icon, join, tag
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import SpanRow

TEXT_CHARACTERS = 20_000
"""Of one text on a page; the rest is in the download."""


def status_badge(status: str) -> Html:
    """A run's status: picture, word and colour."""
    word = STATUS_WORDS.get(status, status)
    return tag("span", icon(status if status in STATUS_WORDS else "new"), word, cls=f"lg-badge lg-{tone(status)}")


def run_header(run: RunRow, now: datetime) -> Html:
    """Who ran, and the figures."""
    title = tag("h1", run.agent or "unknown agent", cls="lg-title")
    about = [
        run.model,
        run.provider if run.provider != run.model else "",
        f"session {run.session}" if run.session else "",
    ]
    chips = [tag("span", f"{name}: {value}", cls="lg-chip") for name, value in sorted(run.labels.items())]
    line = tag("div", status_badge(run.status), title, *(tag("span", part, cls="lg-muted") for part in about if part),
               *chips, tag("span", run.run_id, cls="lg-mono lg-id"), cls="lg-runline")  # fmt: skip
    errors = tag("span", f" {run.tool_errors} failed", cls="lg-bad") if run.tool_errors else None
    more = f" + about {figures.money(run.maybe_cost_usd)} that may have been billed twice"
    maybe = tag("span", more, cls="lg-muted") if run.maybe_cost_usd else None
    stats = [
        _stat("Duration", figures.duration(figures.duration_so_far(run, now))),
        _stat("Cost", join([figures.money(run.cost_usd, known=run.cost_known), maybe])),
        _stat("Tokens", _tokens(run)),
        _stat("Model calls", figures.count(run.steps)),
        _stat("Tool calls", join([figures.count(run.tool_calls), errors])),
        _stat("Retries", figures.count(run.retries)),
        _stat("Events", figures.count(run.events)),
        _stat("Started", f"{figures.moment(run.started_at)}"),
    ]
    return tag("div", line, tag("div", *stats, cls="lg-stats"), cls="lg-header")


def _tokens(run: RunRow) -> str:
    if not run.input_tokens and not run.output_tokens:
        return figures.NONE
    cached = f", {figures.tokens(run.cached_tokens)} cached" if run.cached_tokens else ""
    return f"{figures.tokens(run.input_tokens)} in, {figures.tokens(run.output_tokens)} out{cached}"


def _stat(label: str, value: Html | str) -> Html:
    return tag("div", tag("div", label, cls="lg-label"), tag("div", value, cls="lg-value"), cls="lg-stat")


def explanation(told: Explanation, status: str) -> Html:
    """How the run stands or ended, and what to do next."""
    parts = [tag("div", told.headline, cls="lg-headline")]
    if told.message:
        parts.append(tag("pre", _shortened(told.message), cls="lg-quote"))
    if told.led_to_it:
        items = [tag("li", _trouble(span)) for span in told.led_to_it]
        if told.led_to_it_more:
            items.insert(0, tag("li", f"… and {told.led_to_it_more:,} before that", cls="lg-muted"))
        parts.append(tag("div", "What led to it", cls="lg-label"))
        parts.append(tag("ol", *items, cls="lg-causes"))
    if told.next_step:
        parts.append(tag("div", tag("span", "Next", cls="lg-label"), " ", with_commands(told.next_step)))
    parts += [tag("div", with_commands(warning), cls="lg-warning") for warning in told.warnings]
    return tag("div", *parts, cls=f"lg-outcome lg-{tone(status)}")


def _trouble(span: SpanRow) -> Html:
    attempt = f", attempt {span.attempt}" if span.attempt > 1 else ""
    who = f"{SPAN_WORDS.get(span.kind, span.kind)} {span.call_id}{attempt}: "
    code = f"{span.error_code}: " if span.error_code else ""
    return tag("span", tag("b", who), _one_line(f"{code}{span.error_message}"))


def with_commands(sentence: str) -> Html:
    """Our own sentence, with what stands between backquotes set as code."""
    parts = re.split(r"`([^`]*)`", sentence)
    return join(tag("code", part) if index % 2 else part for index, part in enumerate(parts))


def sections(found: Iterable[Section]) -> Html:
    """What there is to read about something."""
    return tag("div", *(_section(section) for section in found), cls="lg-detail")


def _section(section: Section) -> Html:
    facts = [tag("div", tag("dt", name), tag("dd", value), cls="lg-fact") for name, value in section.facts if value]
    parts = [
        tag("dl", *facts, cls="lg-facts") if facts else None,
        tag("div", section.remark, cls="lg-muted lg-small") if section.remark else None,
        _text_block(section.text, code=section.code) if section.text else None,
        *(_message(who, what) for who, what in section.said),
    ]
    return tag(
        "section", tag("h3", section.title, cls="lg-label"), *parts, cls=f"lg-section lg-{section.tone or 'plain'}"
    )


def _message(who: str, what: str) -> Html:
    return tag("div", tag("div", who, cls="lg-label"), _text_block(what, code=False), cls="lg-said")


def _text_block(content: str, *, code: bool) -> Html:
    shown, missing = cut(content, TEXT_CHARACTERS)
    note = tag("div", f"{missing:,} more characters; the download has them", cls="lg-cut") if missing else None
    return join([tag("pre", shown, cls="lg-code" if code else "lg-text"), note])


def turn(said: Turn) -> Html:
    """One turn of the talk."""
    seq = tag("span", f"#{said.seq}", cls="lg-seq")
    if said.role == "note":
        what = tag("span", said.text)
        if said.fold:
            what = tag("details", tag("summary", said.text), _text_block(said.fold, code=False), cls="lg-fold")
        return tag("div", seq, what, cls=f"lg-note lg-{said.tone}")
    small = tag("span", *(tag("span", fact) for fact in said.facts), cls="lg-factline")
    head = tag("div", tag("span", _ROLES[said.role], cls="lg-role"), small, seq, cls="lg-turnhead")
    reasoning = None
    if said.reasoning:
        reasoning = tag("details", tag("summary", "Reasoning"), _text_block(said.reasoning, code=False), cls="lg-fold")
    if said.role == "system":
        fold = tag("details", tag("summary", _one_line(said.text)), _text_block(said.text, code=False), cls="lg-fold")
        return tag("div", head, fold, cls="lg-turn lg-role-system")
    body = _text_block(said.text, code=False) if said.text else None
    return tag(
        "div", head, reasoning, body, *(_tool_use(use) for use in said.tools), cls=f"lg-turn lg-role-{said.role}"
    )


_ROLES = {"system": "Instructions", "user": "User", "assistant": "Assistant"}


def _tool_use(use: ToolUse) -> Html:
    tries = f", {use.attempts} attempts" if use.attempts > 1 else ""
    took = f"{figures.duration(use.duration_ms)}{tries}" if use.duration_ms is not None else tries.lstrip(", ")
    head = tag(
        "summary",
        icon("tool_call"),
        tag("b", use.request.name),
        tag("span", _one_line(use.request.arguments, 90), cls="lg-mono lg-args"),
        tag("span", use.state, cls=f"lg-state lg-{tone(use.state)}"),
        tag("span", took, cls="lg-muted"),
        tag("span", use.request.call_id, cls="lg-seq"),
    )
    answer = None if use.answer is None else _text_block(pretty_text(use.answer), code=True)
    body = [
        tag("div", "Arguments", cls="lg-label"),
        _text_block(pretty_text(use.request.arguments), code=True),
        tag("div", "Told to the model", cls="lg-label") if answer else None,
        answer,
        *(tag("div", f"Shown with it: {part}", cls="lg-muted lg-small") for part in use.files),
    ]
    return tag("details", head, *body, cls="lg-tool")


def json_lines(lines: Sequence[JsonLine]) -> Html:
    """JSON line by line, what has changed marked."""
    written = (
        tag("div", "  " * line.depth + line.text, cls="lg-jl lg-changed" if line.changed else "lg-jl") for line in lines
    )
    return tag("div", *written, cls="lg-json")


def change_list(changed: Sequence[tuple[str, object]]) -> Html:
    """What a record has changed, place by place."""
    if not changed:
        return tag("div", "Nothing that the state holds.", cls="lg-muted")
    last = sorted(changed, key=lambda change: change[0] in _ALWAYS)
    return tag("div", *(_change(path, change) for path, change in last), cls="lg-changes")


_ALWAYS = ("seq", "now")
"""What every record changes, and so what matters least."""


def _change(path: str, change: object) -> Html:
    assert isinstance(change, dict)
    if "added" in change:
        rows = [_sided("+", item) for item in change["added"]]
    else:
        rows = [_sided("-", change["before"]), _sided("+", change["after"])]
    return tag("div", tag("div", path, cls="lg-mono lg-path"), *rows, cls="lg-change")


def _sided(sign: str, value: object) -> Html:
    return tag("pre", _shortened(f"{sign} {pretty(value)}"), cls="lg-plus" if sign == "+" else "lg-minus")


def notice(title: str, message: str, steps: Sequence[str] = (), *, kind: str = "calm") -> Html:
    """An empty state or an error: what is so, and the commands that mend it."""
    items = [tag("li", with_commands(step)) for step in steps]
    return tag(
        "div",
        tag("div", title, cls="lg-headline"),
        tag("div", with_commands(message), cls="lg-muted") if message else None,
        tag("ul", *items, cls="lg-steps") if items else None,
        cls=f"lg-notice lg-{kind}",
        role="alert" if kind == "bad" else "status",
    )


def _one_line(content: str, size: int = 200) -> str:
    line = " ".join(content[: 4 * size].split())
    return line if len(line) <= size and len(content) <= 4 * size else line[: size - 1] + "…"


def _shortened(content: str) -> str:
    shown, missing = cut(content, TEXT_CHARACTERS)
    return f"{shown}… ({missing:,} more characters)" if missing else shown
