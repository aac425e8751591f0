"""The options that several commands share, and what their values mean. Imports nothing heavy."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class SqlOutput(StrEnum):
    """How a query's rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


LogUrl = Annotated[
    str | None, typer.Option("--log", metavar="URL", help="The log; LEDGENT_LOG, or .ledgent/log.db here.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store; LEDGENT_STORE, or .ledgent/store here.")
]
Agents = Annotated[
    str | None,
    typer.Option("--agents", metavar="MODULES", help="Modules that define agents, as in my.agents,my.others."),
]
Drain = Annotated[
    float, typer.Option("--drain", min=0.0, help="When told to stop: seconds that calls under way may still take.")
]
FaultsGiven = Annotated[
    str | None,
    typer.Option(
        "--faults",
        metavar="FAULTS",
        help="Have calls of models and tools fail, as in rate=0.3,kinds=rate_limited+server_error+hang,seed=7.",
    ),
]
OutputAs = Annotated[Output, typer.Option("--output", "-o", help="How to write it.")]
FilePaths = Annotated[
    list[Path] | None, typer.Option("--file", metavar="PATH", help="An image or other file; may be repeated.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or enough of its beginning or end.")]
RunIds = Annotated[
    list[str] | None, typer.Argument(metavar="RUN...", help="Ids of runs, or enough of their beginnings or ends.")
]
All = Annotated[bool, typer.Option("--all", help="Every run in the log.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the dashboard listens on 127.0.0.1.")]

DEFAULT_PORT = 8501

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def point(given: str) -> int | str:
    """A record's seq, or a checkpoint's name."""
    return int(given) if re.fullmatch(r"-?[0-9]{1,18}", given) else given


def point_in_time(given: str) -> datetime:
    """The aware time that `2h`, `7d`, `2026-11-20` or `2026-11-20T18:00` means; without a zone it is local.

    Raises typer.BadParameter.
    """
    try:
        if ago := re.fullmatch(r"(\d{1,6})\s*([smhdw])", given.strip()):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(given.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{given!r} is no time; write 90s, 15m, 2h, 7d, 4w, 2026-11-20 or 2026-11-20T18:00"
        ) from None


Since = Annotated[
    datetime | None,
    typer.Option("--since", metavar="WHEN", parser=point_in_time, help="Started since: 2h, 7d, 2026-11-20."),
]
