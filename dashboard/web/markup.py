"""HTML written safely: every text and attribute is escaped here, so that what models and tools say stays text. Pure."""

from collections.abc import Iterable
from html import escape


class Html(str):
    """Markup made by this module; any other `str` is text."""

    __slots__ = ()


Part = Html | str | None


def tag(name: str, *content: Part, cls: str = "", **attributes: str) -> Html:
    """An element. A plain `str` in it is text and is escaped, like the values of attributes; None is nothing.

    Only ever called with names of our own. An attribute's underscores become hyphens.
    """
    given = {"class": cls, **attributes}
    written = "".join(f' {key.replace("_", "-")}="{text(value)}"' for key, value in given.items() if value)
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def join(parts: Iterable[Part]) -> Html:
    """The parts one after another, those that are not markup escaped."""
    return Html("".join(part if isinstance(part, Html) else text(part or "") for part in parts))


def text(content: str) -> Html:
    """The text as it is, quotes included."""
    return Html(escape(content, quote=True).replace("\0", "\N{REPLACEMENT CHARACTER}"))


def icon(name: str) -> Html:
    """One of our pictures; it says nothing that is not beside it in words."""
    return tag("span", cls=f"lg-icon lg-{name}", aria_hidden="true")
