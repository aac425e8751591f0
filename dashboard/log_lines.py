"""What processes log, as JSON: an object a line on stderr, with the run and trace that it concerns.

The same is told elsewhere: of runs by their events, of what goes wrong by error messages, alerts and `doctor`.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from ledgent.agent.current import RUN_ID
from ledgent.agent.writing import OnRecord
from ledgent.schemas.codec import Recorded, trace_id_of
from ledgent.schemas.events import ModelCallFailed, RunFailed, RunStarted, ToolCallFailed

logger = logging.getLogger("ledgent.run")

_FAILED = (ModelCallFailed, ToolCallFailed, RunFailed)


class JsonLines(logging.Formatter):
    """`at`, `level`, `logger`, `message`; `run_id` and `trace_id` where it concerns a run; `error` with its traceback.

    Numbers and texts that are logged with `extra=` come along under their names.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL and _plain(value)}
        if run_id := line.get("run_id") or RUN_ID.get():
            line |= {"run_id": run_id, "trace_id": trace_id_of(run_id)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def log_as_json() -> None:
    """From now on all of this process's log is JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ledgent").setLevel(logging.INFO)


def logs_json() -> bool:
    """Whether it is."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def log_of_runs(types: frozenset[str]) -> OnRecord:
    """Logs the events of these types, and those of calls and runs that failed, each once it is in the log of record."""

    def tell(record: Recorded) -> None:
        event = record.event
        failed = isinstance(event, _FAILED)
        if not failed and event.type not in types:
            return
        extra: dict[str, Any] = {"run_id": record.run_id, "seq": record.seq, "span_id": record.envelope.span_id}
        if isinstance(event, RunStarted):
            extra["agent"] = event.agent.name
        if isinstance(event, _FAILED):
            extra |= {"code": str(event.error.code), "reason": event.error.message}
        logger.log(logging.WARNING if failed else logging.INFO, event.type, extra=extra)

    return tell
