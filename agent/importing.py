"""Runs that other systems recorded as chat-completions messages, written down as runs of this log. Calls nobody.

What the messages do not say, requests, durations, prices, is left unknown; `run.started` says that the run is
imported, and verification then makes no decision again.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from ledgent.agent.clock import SystemClock
from ledgent.agent.writing import RunWriter
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import AgentSpec, Limits, ModelSpec, ToolSpec
from ledgent.schemas.codec import cut_text
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import (
    AnyEvent,
    MessageReceived,
    ModelCallCompleted,
    ModelCallStarted,
    RunClaimed,
    RunCompleted,
    RunStarted,
    ToolCallCompleted,
    ToolCallStarted,
)
from ledgent.schemas.ports import Log
from ledgent.schemas.state import RunState
from ledgent.schemas.values import Imported, ToolRequest, Usage

SOURCE = "openai"
LABEL_CHARACTERS = 200
"""Of a value beside the messages that becomes a label; longer ones are left out."""


class Step(NamedTuple):
    """An event, and where and when it stands."""

    event: AnyEvent
    span: tuple[str | int, ...]
    at: datetime | None


async def import_chat(log: Log, line: bytes, now: datetime) -> tuple[str, int]:
    """Writes down the run in a JSON object with `messages`; its id, and how many records were written.

    `now`: when it was, where the messages do not say.

    The id comes from the bytes, so the same run is imported once. Raises UsageError for what is no such object,
    RecordTooLarge, LogFull, LogUnavailable.
    """
    line = line.strip()
    chat = _Chat(line)
    if log.head(chat.run_id) is not None:
        return chat.run_id, 0
    times = _Times(now)
    writer = RunWriter(log, RunState(chat.run_id), Guard(), times)
    writer.claim()
    steps = chat.steps()
    for step in steps:
        times.at = step.at or times.at
        writer.record(step.event, writer.state.seq or None, *step.span)
    await writer.flush()
    return chat.run_id, len(steps)


class _Times(SystemClock):
    """A clock that stands where the recording says, and else where the import is."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


class _Chat:
    """A recorded run on its way to events."""

    def __init__(self, line: bytes) -> None:
        try:
            self._fields: dict[str, Any] = orjson.loads(line)
            self._messages: list[dict[str, Any]] = list(self._fields["messages"])
            roles = [message["role"] for message in self._messages]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"no object with chat-completions `messages`: {error!r:.200}") from error
        if not {"user", "assistant"}.intersection(roles):
            raise UsageError("its messages hold nothing that a user or a model said")
        self._sha256 = hashlib.sha256(line).hexdigest()
        self._left_out = 0
        self._steps: list[Step] = []
        self._model = str(self._fields.get("model") or "unknown")
        self._asked = 0
        self._pending: list[ToolRequest] = []
        began = next(filter(None, map(_time, self._messages)), None)
        self.run_id = _id_of(self._sha256, began)

    def steps(self) -> list[Step]:
        """The whole run."""
        first, instructions = 0, ""
        if self._messages[0]["role"] in ("system", "developer"):
            first, instructions = 1, self._text(self._messages[0]) or ""
        opening = self._messages[first] if first < len(self._messages) else {"role": ""}
        input = self._text(opening) if opening["role"] == "user" else None
        began = next(filter(None, map(_time, self._messages)), None)
        for number, message in enumerate(self._messages[first + (input is not None) :], first):
            self._take(number, message)
        answers = [step.event.text for step in self._steps if isinstance(step.event, ModelCallCompleted)]
        end = RunCompleted(output=answers[-1] if answers else None, reason="the imported recording ends here")
        start = RunStarted(
            request_id=self.run_id,
            agent=self._agent(instructions),
            input=input,
            limits=Limits(),
            labels=_labels(self._fields),
            imported=Imported(source=SOURCE, sha256=self._sha256, left_out=self._left_out),
        )
        opened = [Step(RunClaimed(reason="started"), (), began), Step(start, (), began)]
        return [*opened, *self._steps, Step(end, (), None)]

    def _agent(self, instructions: str) -> AgentSpec:
        functions = [tool.get("function", tool) for tool in self._fields.get("tools") or () if isinstance(tool, dict)]
        tools = {
            str(tool["name"]): ToolSpec(
                name=str(tool["name"]),
                description=str(tool.get("description") or ""),
                parameters=tool.get("parameters") or {},
            )
            for tool in functions
            if tool.get("name")
        }
        return AgentSpec(
            name=str(self._fields.get("agent") or "imported"),
            instructions=instructions,
            model=ModelSpec(provider="imported", name=self._model),
            tools=tuple(tools.values()),
            limits=Limits(),
            conversational=True,
        )

    def _take(self, number: int, message: Mapping[str, Any]) -> None:
        at = _time(message)
        match message["role"]:
            case "user":
                said = MessageReceived(request_id=f"{self.run_id}/{number}", text=self._text(message) or "")
                self._steps.append(Step(said, (), at))
            case "assistant":
                self._answer(message, at)
            case "tool" if self._pending:
                self._result(message, at)
            case _:
                self._left_out += 1

    def _answer(self, message: Mapping[str, Any], at: datetime | None) -> None:
        self._asked += 1
        call_id = f"m{self._asked}"
        self._pending = [
            ToolRequest(
                call_id=f"{call_id}.t{index}",
                provider_id=str(call.get("id") or ""),
                name=str(call.get("function", call).get("name") or ""),
                arguments=_arguments(call.get("function", call).get("arguments")),
            )
            for index, call in enumerate(message.get("tool_calls") or ())
        ]
        started = ModelCallStarted(call_id=call_id, provider="imported", model=self._model, request_digest="")
        text, cut = cut_text(self._text(message) or "")
        used = message.get("usage") or {}
        completed = ModelCallCompleted(
            call_id=call_id,
            text=None if message.get("content") is None else text,
            tool_calls=tuple(self._pending),
            usage=Usage(input_tokens=used.get("prompt_tokens") or 0, output_tokens=used.get("completion_tokens") or 0),
            duration_ms=None,
            cut=cut,
        )
        self._steps += [Step(event, (call_id, 1), at) for event in (started, completed)]

    def _result(self, message: Mapping[str, Any], at: datetime | None) -> None:
        given = message.get("tool_call_id")
        asked = next((each for each in self._pending if each.provider_id == given), self._pending[0])
        self._pending.remove(asked)
        key = f"{self.run_id}/{asked.call_id}"
        started = ToolCallStarted(
            call_id=asked.call_id, name=asked.name, arguments=asked.arguments, idempotency_key=key
        )
        completed = ToolCallCompleted(call_id=asked.call_id, result=self._text(message) or "", duration_ms=None)
        self._steps += [Step(event, (asked.call_id, 1), at) for event in (started, completed)]

    def _text(self, message: Mapping[str, Any]) -> str | None:
        """What a message says; parts that are no text are left out and counted."""
        content = message.get("content")
        if not isinstance(content, list):
            return None if content is None else str(content)
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        self._left_out += len(content) - len(texts)
        return "".join(texts)


def _id_of(sha256: str, began: datetime | None) -> str:
    """A UUID of version 8: the time first, as in all run ids, 0 where it is not known, then the digest."""
    time = f"{int(began.timestamp() * 1000) if began else 0:012x}"
    digits = f"{time}8{sha256[:3]}8{sha256[3:6]}{sha256[6:18]}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _time(message: Mapping[str, Any]) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(message.get("timestamp")))
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else orjson.dumps(given if given is not None else {}).decode()


def _labels(fields: Mapping[str, Any]) -> dict[str, str]:
    """What else is said of the run in short: numbers and texts beside the messages."""
    return {
        name: str(value)
        for name, value in fields.items()
        if name not in ("agent", "model") and isinstance(value, str | int | float)
        if len(str(value)) <= LABEL_CHARACTERS
    }
