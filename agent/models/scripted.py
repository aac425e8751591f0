"""A model that answers from a script: for demos, tests and first agents. No server, no key, no chance."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from pydantic import JsonValue

from ledgent.agent.models.port import AskedTool, Delta, ModelFailure, ModelReply, ModelRequest
from ledgent.agent.models.prices import Price, cost_at
from ledgent.schemas.agents import CircuitPolicy, ModelSpec, RetryPolicy
from ledgent.schemas.errors import ErrorCode, ErrorInfo, UsageError
from ledgent.schemas.recovery import RETRYABLE
from ledgent.schemas.values import Usage

PROVIDER = "scripted"


class Call:
    """A tool call: `Call("add", a=1, b=2)`, or `Call.raw("add", "{not JSON")`."""

    def __init__(self, tool: str, /, **arguments: JsonValue) -> None:
        self.tool = tool
        self.arguments = orjson.dumps(arguments).decode()

    @classmethod
    def raw(cls, tool: str, arguments: str) -> "Call":
        """With arguments exactly as given, which need not be JSON."""
        call = cls(tool)
        call.arguments = arguments
        return call


class Reply:
    """An answer in full."""

    def __init__(
        self,
        text: str | None = None,
        calls: Sequence[Call] = (),
        *,
        reasoning: str | None = None,
        usage: Usage | None = None,
        cost_usd: float | None = None,
    ) -> None:
        self.text = text
        self.calls = tuple(calls)
        self.reasoning = reasoning
        self.usage = usage
        """None: counted from the sizes of request and answer."""
        self.cost_usd = cost_usd
        """None: by the model's price, if it has one."""


class Fail:
    """A failure: `Fail("rate_limited", retry_after_s=0.05)`. Whether it may pass is as usual for its code.

    `after` is what a streamed answer has said before it breaks off.
    """

    def __init__(
        self,
        code: str | ErrorCode,
        message: str | None = None,
        *,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
        after: Reply | None = None,
    ) -> None:
        if code not in set(ErrorCode):
            raise UsageError(f"Fail({code!r}): there is no such code; there are {', '.join(sorted(ErrorCode))}")
        self.error = ErrorInfo(
            code=ErrorCode(code),
            message=message or f"the script says: {code}",
            retryable=ErrorCode(code) in RETRYABLE if retryable is None else retryable,
            retry_after_s=retry_after_s,
            status=status,
        )
        self.after = after


Outcome = str | Call | Sequence[Call] | Reply | Fail


class Attempts:
    """A turn whose attempts differ: `Attempts(Fail("timeout"), "the answer")`. Further attempts are as the last."""

    def __init__(self, *outcomes: Outcome) -> None:
        if not outcomes:
            raise UsageError("Attempts() needs at least one outcome")
        self.outcomes = outcomes


Turn = Outcome | Attempts


class ScriptedModel:
    """Gives the turns of a script, the first to model call `m1`, the second to `m2`, whichever process asks.

    So it gives `summaries` to the calls for a summary, `s1`, `s2` and so on; the last one to all that follow.

    A turn is a text, a `Call`, several in a list (made in parallel), a `Reply`, a `Fail`, or `Attempts` of these.
    `turns` may instead be a function from the request's messages to a turn. `delay_s` is how long each answer takes.
    A call beyond the last turn fails.
    """

    def __init__(
        self,
        turns: Sequence[Turn] | Callable[[list[dict[str, Any]]], Turn],
        *,
        name: str = "scripted",
        delay_s: float = 0.0,
        stream: bool = False,
        timeout_s: float = 120.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        price: Price | None = None,
        context_window: int | None = None,
        summaries: Sequence[Turn] = ("The conversation so far, in short.",),
        circuit: CircuitPolicy | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrency: int | None = None,
    ) -> None:
        if isinstance(turns, str):
            raise UsageError("ScriptedModel takes a list of turns: ScriptedModel(['the answer'])")
        self._turns = turns if callable(turns) else tuple(map(_checked, turns))
        self._summaries = tuple(map(_checked, summaries))
        self._delay_s = delay_s
        self._price = price
        self._spec = ModelSpec(
            provider=PROVIDER,
            name=name,
            stream=stream,
            timeout_s=timeout_s,
            retry=retry,
            context_window=context_window,
            circuit=circuit,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            concurrency=concurrency,
            price=price,
        )

    def __repr__(self) -> str:
        return f"ScriptedModel({self._spec.name!r})"

    @property
    def spec(self) -> ModelSpec:
        """What a run freezes of it."""
        return self._spec

    def priced(self) -> bool:
        """Whether replies will carry their cost."""
        return self._price is not None

    async def complete(
        self,
        request: ModelRequest,
        on_delta: Callable[[Delta], None] | None = None,
        on_call: Callable[[AskedTool], None] | None = None,
    ) -> ModelReply:
        """The answer. Raises ModelFailure, and nothing else but asyncio.CancelledError."""
        outcome = self._outcome(request)
        said = outcome.after if isinstance(outcome, Fail) else outcome
        try:
            async with asyncio.timeout(request.timeout_s):
                if said is None or not self._spec.stream:
                    await asyncio.sleep(self._delay_s)
                else:
                    await self._stream(request.call_id, said, on_delta, on_call)
        except TimeoutError:
            message = f"the script gave no answer within {request.timeout_s:g} s"
            raise ModelFailure(
                ErrorInfo(code=ErrorCode.TIMEOUT, message=message, retryable=True, deadline="call")
            ) from None
        if isinstance(outcome, Fail):
            raise ModelFailure(outcome.error)
        return self._reply(request, outcome)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _outcome(self, request: ModelRequest) -> Reply | Fail:
        turn = self._turn(request)
        if isinstance(turn, Attempts):
            turn = turn.outcomes[min(request.attempt, len(turn.outcomes)) - 1]
        if isinstance(turn, str):
            return Reply(turn)
        if isinstance(turn, Call):
            return Reply(calls=(turn,))
        return turn if isinstance(turn, Reply | Fail) else Reply(calls=turn)

    def _turn(self, request: ModelRequest) -> Turn:
        if summary := re.fullmatch(r"s(\d+)", request.call_id):
            if not self._summaries:
                return Fail(ErrorCode.INVALID_REQUEST, "the script has no summaries")
            return self._summaries[min(int(summary[1]), len(self._summaries)) - 1]
        if callable(self._turns):
            return self._turns(orjson.loads(request.body)["messages"])
        numbered = re.fullmatch(r"m(\d+)", request.call_id)
        if numbered is None:
            return Fail(ErrorCode.INVALID_REQUEST, f"the script has no turn for the call {request.call_id!r}")
        number = int(numbered[1])
        if not 1 <= number <= len(self._turns):
            message = f"the script has only {len(self._turns)} turns, and this is call {request.call_id}"
            return Fail(ErrorCode.INVALID_REQUEST, message)
        return self._turns[number - 1]

    async def _stream(
        self,
        call_id: str,
        reply: Reply,
        on_delta: Callable[[Delta], None] | None,
        on_call: Callable[[AskedTool], None] | None,
    ) -> None:
        """Tells the answer word by word and call by call, the delay spread over them."""
        pieces: list[tuple[Delta, AskedTool | None]] = []
        pieces += [(Delta(call_id, "reasoning", word), None) for word in _words(reply.reasoning)]
        pieces += [(Delta(call_id, "text", word), None) for word in _words(reply.text)]
        pieces += [(Delta(call_id, "tool_arguments", call.arguments), call) for call in _asked(call_id, reply)]
        if not pieces:
            await asyncio.sleep(self._delay_s)
        for piece, call in pieces:
            await asyncio.sleep(self._delay_s / len(pieces))
            if on_delta is not None:
                on_delta(piece)
            if on_call is not None and call is not None:
                on_call(call)

    def _reply(self, request: ModelRequest, reply: Reply) -> ModelReply:
        written = len(reply.text or "") + len(reply.reasoning or "") + sum(len(c.arguments) for c in reply.calls)
        usage = reply.usage or Usage(
            # About four letters to a token, as with real models.
            input_tokens=max(1, len(request.body) // 4),
            output_tokens=max(1, written // 4),
        )
        cost = reply.cost_usd
        if cost is None and self._price is not None:
            cost = cost_at(self._price, usage)
        return ModelReply(
            text=reply.text,
            tool_calls=_asked(request.call_id, reply),
            reasoning=reply.reasoning,
            usage=usage,
            cost_usd=cost,
            finish_reason="tool_calls" if reply.calls else "stop",
            model=self._spec.name,
            response_id=f"scripted-{request.call_id}-{request.attempt}",
        )


def _checked(turn: Turn) -> Turn:
    """The turn, if it is one: better told where the script is written than in the middle of a run."""
    for outcome in turn.outcomes if isinstance(turn, Attempts) else (turn,):
        calls = outcome if isinstance(outcome, list | tuple) else ()
        known = isinstance(outcome, str | Call | Reply | Fail) or (calls and all(isinstance(c, Call) for c in calls))
        if not known:
            raise UsageError(f"{outcome!r} is no turn: a text, Call, Reply, Fail, Attempts or a list of Calls is one")
    return turn


def _asked(call_id: str, reply: Reply) -> tuple[AskedTool, ...]:
    return tuple(
        AskedTool(f"call_{call_id}_{number}", call.tool, call.arguments) for number, call in enumerate(reply.calls)
    )


def _words(text: str | None) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text or "")
