"""The agent that people write: its definition (spec.py) with all the ways to run it (running.py, conversation.py)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from ledgent.agent.blocking import blocking, iterated
from ledgent.agent.conversation import Conversation, SyncConversation
from ledgent.agent.fork import Changes, Tools
from ledgent.agent.models.port import Delta, Model
from ledgent.agent.resuming import answer_run, fork_run
from ledgent.agent.running import (
    OnResult,
    RunResult,
    blobs_at,
    log_at,
    run_agent,
    run_batch,
    start_request,
    stream_agent,
)
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.files import File, kept_files
from ledgent.schemas.agents import Limits
from ledgent.schemas.ports import Blobs, Log

CONCURRENCY = 16
"""Runs of a batch at the same time, unless it is said otherwise."""


@dataclass(frozen=True)
class Agent(Definition):
    """A named agent: a model, its instructions and its tools.

    `model` is a model's name for the OpenAI-compatible adapter, or any `Model`. `tools` are made by `@tool`, or plain
    functions. Raises UsageError for a name that is none, and when two tools share one.
    """

    async def run(
        self,
        input: str | None,
        *,
        limits: Limits | None = None,
        session: str | None = None,
        labels: dict[str, str] | None = None,
        log: Log | str | None = None,
        on_record: OnRecord | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        stop: asyncio.Event | None = None,
        files: Sequence[str | PathLike[str] | File] = (),
        blobs: Blobs | str | None = None,
    ) -> RunResult:
        """Runs here until the end (a conversation: until its first answer); every step is in the log before it counts.

        A run that fails, is limited or cancelled is a result, not an exception. `log`: a log or its URL, LEDGENT_LOG by
        default. `on_record` sees each record once it is durable, `on_delta` each piece of a streamed answer. The run is
        cancelled once `stop` is set. `files` go with the input: paths, `Image`s, `File`s; they are put into `blobs`, a
        blob store or its directory, LEDGENT_BLOBS by default. Raises UsageError, LogUnavailable, LogFull,
        RecordTooLarge, BlobsUnavailable.
        """
        kept = blobs_at(blobs)
        request = start_request(self.name, input, limits, session, labels, files=await kept_files(files, kept))
        return await run_agent(self, request, log, on_record, on_delta, stop=stop, blobs=kept)

    def run_sync(self, input: str | None, **options: Any) -> RunResult:
        """As `run`, for code that is not async; works inside a running event loop too, which it blocks."""
        return blocking(self.run(input, **options))

    async def run_many(
        self,
        inputs: Iterable[str],
        *,
        concurrency: int = CONCURRENCY,
        on_result: OnResult | None = None,
        **options: Any,
    ) -> list[RunResult]:
        """One run for each input, so many at a time; the results in the order of the inputs. Options as for `run`.

        `on_result(number, result)` is told of each as it ends. What `run` raises ends the batch: the other runs are
        handed over.
        """
        return await run_batch(partial(self.run, **options), inputs, concurrency, on_result)

    def run_many_sync(self, inputs: Iterable[str], **options: Any) -> list[RunResult]:
        """As `run_many`, for code that is not async."""
        return blocking(self.run_many(inputs, **options))

    def stream(
        self, input: str | None, *, on_record: OnRecord | None = None, **options: Any
    ) -> AsyncGenerator[Delta | RunResult, None]:
        """The pieces of the answers as they come, then the result. Options as for `run`."""
        return stream_agent(partial(self.run, input, **options), on_record)

    def stream_sync(self, input: str | None, **options: Any) -> Iterator[Delta | RunResult]:
        """As `stream`, for code that is not async."""
        return iterated(self.stream(input, **options))

    async def submit(
        self,
        input: str | None,
        *,
        limits: Limits | None = None,
        session: str | None = None,
        labels: dict[str, str] | None = None,
        log: Log | str | None = None,
        files: Sequence[str | PathLike[str] | File] = (),
        blobs: Blobs | str | None = None,
    ) -> str:
        """Asks for a run by whichever worker takes it; the run's id, once the request is durable.

        The worker reads `files` from the blob store, so both must have the same. Raises as `run`.
        """
        request = start_request(
            self.name, input, limits, session, labels, files=await kept_files(files, blobs_at(blobs))
        )
        await log_at(log).submit(request)
        return request.run_id

    def submit_sync(self, input: str | None, **options: Any) -> str:
        """As `submit`, for code that is not async."""
        return blocking(self.submit(input, **options))

    async def answer(
        self,
        run_id: str,
        text: str,
        *,
        call_id: str | None = None,
        by: str = "",
        log: Log | str | None = None,
        on_record: OnRecord | None = None,
        on_delta: Callable[[Delta], None] | None = None,
    ) -> RunResult:
        """Answers the question that a sleeping run asks, and goes on with the run here.

        `call_id`: which, where several are asked. Raises RequestRefused for what answers none, UnknownRun.
        """
        return await answer_run(self, run_id, text, call_id, by, log, on_record, on_delta)

    def answer_sync(self, run_id: str, text: str, **options: Any) -> RunResult:
        """As `answer`, for code that is not async."""
        return blocking(self.answer(run_id, text, **options))

    async def fork(
        self,
        run_id: str,
        *,
        at: int | str,
        input: str | None = None,
        model: str | Model | None = None,
        instructions: str | None = None,
        tools: Tools = "recorded",
        allow: Sequence[str] = (),
        messages: Mapping[int, str] | None = None,
        results: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        session: str | None = None,
        labels: dict[str, str] | None = None,
        log: Log | str | None = None,
        on_record: OnRecord | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        stop: asyncio.Event | None = None,
    ) -> RunResult:
        """A new run, here, that begins as the other one stood at a checkpoint's name or after a record's seq.

        That can be wherever no tool call was under way; a checkpoint saved among them means once they had settled. The
        other run stays as it is. It has another `model`, `instructions`, `limits`, or other texts of shared `messages`
        (by number from 0; -1 is the last) or `results` (by call id, those of later calls too); `input` is what the user
        says next. With other tools: `agent.but(tools=...).fork(...)`. Calls that the other run made too, with the same
        arguments and in the same order, are not made: what came of them there is told again. From the first other one
        on, `recorded` makes calls of tools that are idempotent, that a person allows, or that are named in `allow`
        ("*": all); `refused` makes only the last; `live` makes every call from the beginning. Limits, session and
        labels are the other run's unless given. Raises UsageError where it cannot be, UnknownRun.
        """
        changes = Changes(model, instructions, tools, allow, messages or {}, results or {})
        return await fork_run(self, run_id, at, input, changes, limits, session, labels, log, on_record, on_delta, stop)

    def fork_sync(self, run_id: str, **options: Any) -> RunResult:
        """As `fork`, for code that is not async."""
        return blocking(self.fork(run_id, **options))

    async def restore(self, run_id: str, *, at: int | str, **options: Any) -> RunResult:
        """A fork in which nothing is otherwise and every call is made; options as for `fork`."""
        return await self.fork(run_id, at=at, **{"tools": "live", **options})

    def restore_sync(self, run_id: str, **options: Any) -> RunResult:
        """As `restore`, for code that is not async."""
        return blocking(self.restore(run_id, **options))

    def conversation(self, **options: Any) -> Conversation:
        """A conversation held here: `async with agent.conversation() as chat: answer = await chat.send("Hello")`.

        Options as for `run`. Raises UsageError for an agent that is not conversational.
        """
        return Conversation(self, **options)

    def conversation_sync(self, **options: Any) -> SyncConversation:
        """As `conversation`, for code that is not async: `with agent.conversation_sync() as chat: chat.send("Hi")`."""
        return SyncConversation(self.conversation(**options))
