"""Runs as JSON lines: every stored byte, or as messages or spans. Reads the log; knows no terminal."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson
from msgspec.structs import replace

from ledgent.agent.render import Renderer
from ledgent.processors.otlp import otlp_traces
from ledgent.schemas.codec import decode, export_line
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.exports import ExportHead, head_line, heads_line
from ledgent.schemas.ports import History
from ledgent.schemas.run import replay
from ledgent.schemas.state import Context


def export_lines(history: History, run_ids: Iterable[str]) -> Iterator[bytes]:
    """Each run's records, then its head as the log keeps it; the list of all heads last. Raises UnknownRun."""
    heads = list[ExportHead]()
    for run_id in run_ids:
        found = history.head(run_id)
        if found is None:
            raise UnknownRun(run_id)
        head = ExportHead(run_id, found.guard.seq, found.guard.digest)
        for stored in history.records(run_id):
            yield export_line(stored)
        yield head_line(head)
        heads.append(head)
    yield heads_line(heads)


def chat_lines(history: History, run_ids: Iterable[str]) -> Iterator[bytes]:
    """Each run as an object with its chat-completions messages, also those that the model was no longer sent."""
    for run_id in run_ids:
        state = replay(run_id, history.records(run_id)).state
        if state.agent is None:
            continue  # it failed before it began: nothing was said
        asked = orjson.loads(Renderer(state.agent, state.agent.model).request(replace(state, context=Context())))
        about = {"run_id": run_id, "agent": state.agent.name, "status": str(state.status), "model": asked["model"]}
        tools = {"tools": asked["tools"]} if "tools" in asked else {}
        yield orjson.dumps({**about, **tools, "messages": asked["messages"]}) + b"\n"


def span_lines(history: History, run_ids: Iterable[str]) -> Iterator[bytes]:
    """Each run as an OTLP JSON object, a line each, as collectors read them from a file."""
    for run_id in run_ids:
        yield orjson.dumps(otlp_traces(run_id, map(decode, history.records(run_id)))) + b"\n"


def write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Writes the file beside its place and moves it there when it is whole. Raises UsageError where that cannot be."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            file.writelines(lines)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"nothing can be written to {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Appends to the file; on the disk when it returns. Raises UsageError where that cannot be."""
    try:
        with path.open("ab") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be written to: {error.strerror}") from error


def anchor_lines(history: History, at: str, known: Mapping[str, Mapping[int, str]]) -> Iterator[bytes]:
    """The head of each run as a line to be kept elsewhere, without those that are `known`; `at`: when, as text."""
    for run_id in history.run_ids():
        found = history.head(run_id)
        if found is not None and found.guard.seq not in known.get(run_id, ()):
            guard = found.guard
            yield orjson.dumps({"at": at, "run_id": run_id, "seq": guard.seq, "digest": guard.digest}) + b"\n"
