"""The pictures for states and kinds, as SVG paths in a box of 16, and the words that go with them. Data and its CSS."""

from urllib.parse import quote

PATHS = {
    "completed": "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM4.8 8.2l2.2 2.2 4.2-4.4",
    "failed": "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8",
    "cancelled": "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM3.5 12.5l9-9",
    "limited": "M2 11.5a6.2 6.2 0 1 1 12 0M8 10.5l3-3.6M1.5 13.8h13",
    "running": "M8 1.5a6.5 6.5 0 1 1-6.5 6.5",
    "suspended": "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM6.4 5.5v5M9.6 5.5v5",
    "new": "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM8 4.6V8l2.3 1.6",
    "run": "M4.5 2.8v10.4L13 8Z",
    "model_call": "M8 1.6l1.5 4.9L14.4 8l-4.9 1.5L8 14.4 6.5 9.5 1.6 8l4.9-1.5Z",
    "tool_call": "M9.6 2.2a3.6 3.6 0 0 0-3.3 4.9L2 11.4 4.6 14l4.3-4.3a3.6 3.6 0 0 0 4.7-4.5"
    "L11.4 7.4 9 7 8.6 4.6l2.2-2.2",
    "memory_read": "M3 3.2h4.2c.6 0 .8.4.8.8v9c0-.6-.5-1-1-1H3ZM13 3.2H8.8c-.6 0-.8.4-.8.8v9c0-.6.5-1 1-1h4Z",
    "retry_wait": "M13.5 8A5.5 5.5 0 1 1 11.6 3.8M13.5 1.5v3.2h-3.2",
    "input_wait": "M8 2.2a2.6 2.6 0 1 0 0 5.2 2.6 2.6 0 0 0 0-5.2ZM2.8 13.8c.4-3 2.4-4.4 5.2-4.4s4.8 1.4 5.2 4.4",
    "open": "M4 6l4 4 4-4",
    "closed": "M6 4l4 4-4 4",
    "handover_wait": "M2 5.5h11M10 2.5l3 3-3 3M14 10.5H3M6 7.5l-3 3 3 3",
}
"""Drawn with a stroke, not filled."""

STATUS_WORDS = {
    "completed": "Completed",
    "running": "Running",
    "suspended": "Waiting",
    "failed": "Failed",
    "limited": "Limited",
    "cancelled": "Cancelled",
    "new": "New",
}
"""Of a run, in the order in which they are offered."""

SPAN_WORDS = {
    "run": "Run",
    "model_call": "Model call",
    "tool_call": "Tool call",
    "memory_read": "Look through memory",
    "retry_wait": "Wait before retry",
    "input_wait": "Waiting for a message",
    "handover_wait": "Waiting for a worker",
}
"""Of a span's kind."""

TONES = {
    "completed": "good", "ok": "good",
    "failed": "bad", "error": "bad", "rejected": "bad", "uncertain": "bad", "broken": "bad", "unreadable": "bad",
    "limited": "odd", "cancelled": "odd", "fenced": "odd", "reused": "odd",
    "running": "live", "suspended": "calm", "waiting": "calm", "new": "calm", "duplicate": "calm",
}  # fmt: skip
"""Of a state: how it is coloured, beside its word and picture."""


def icon_css() -> str:
    """A CSS class for each picture, as a mask: so it takes the colour of the text, and no SVG need be let through."""
    return "".join(f'.lg-icon.lg-{name} {{ --picture: url("{_data_url(path)}"); }}\n' for name, path in PATHS.items())


def _data_url(path: str) -> str:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#000" stroke-width="1.5" '
        f'stroke-linecap="round" stroke-linejoin="round"><path d="{path}"/></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


def tone(state: str) -> str:
    """`good`, `bad`, `odd`, `live` or `calm`."""
    return TONES.get(state, "calm")
