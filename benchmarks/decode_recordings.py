"""Recorded answers of real model servers, served again from a local one and read by ledgent's adapters.

    python benchmarks/decode_recordings.py --recordings FILE... [-o json]

FILE: JSON Lines, one HTTP exchange a line, or a folder of such files. All their chat-completions and Anthropic-messages
exchanges are played, whatever their status: verbatim bodies byte for byte, payload lines as events again, streams in
pieces cut anywhere; a missing request is replaced by a minimal one. Text, reasoning, tool calls, usage and finish
reason are compared with what the recording holds, as recorded_meaning.py reads it; of an error its code, status and
words. It is also told which requests the server did not get as they were recorded. Exit code 1 if anything is not
understood.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recorded_body import Answer, Call, Failure
from benchmarks.recorded_exchanges import CHAT, MESSAGES, Exchange, RecordedServer, files_of, read_exchanges
from benchmarks.recorded_meaning import meaning, status_of
from benchmarks.recorded_requests import as_chat, same_request
from ledgent.agent import AnthropicModel, Delta, OpenAIModel
from ledgent.agent.models.port import AskedTool, Model, ModelFailure, ModelReply, ModelRequest

DEADLINE_S = 30.0


class Played(NamedTuple):
    """One exchange beside what the adapter made of it."""

    exchange: Exchange
    outcome: str
    """decoded, error or not_understood."""
    why: str = ""
    foreign: bool = False
    """Whether something was raised that is none of our errors."""
    sent: str | None = None
    """How the request arrived: as recorded, or what differs first; None: the recording has none."""


async def play_all(exchanges: list[Exchange]) -> list[Played]:
    """Every exchange, one after another."""
    server = RecordedServer()
    address = await server.start()
    models: dict[tuple[str, bool], Model] = {}
    try:
        played = []
        for exchange in exchanges:
            streamed = exchange.streamed or bool((exchange.request or {}).get("stream"))
            key = (exchange.api, streamed)
            if key not in models:
                kind = OpenAIModel if exchange.api == CHAT else AnthropicModel
                models[key] = kind("recorded", base_url=f"{address}/v1", api_key="sk-decode-0815", stream=streamed)
            played.append(await play(exchange, server, models[key], streamed))
        return played
    finally:
        for model in models.values():
            await model.aclose()
        await server.stop()


async def play(exchange: Exchange, server: RecordedServer, model: Model, streamed: bool) -> Played:
    """The exchange through the adapter."""
    request, chat, sent = requests_of(exchange, streamed)
    server.exchange, server.status, server.asked = exchange, status_of(exchange), None
    deltas: list[Delta] = []
    asked: list[AskedTool] = []
    body = json.dumps(chat, ensure_ascii=False).encode(errors="replace")
    got: ModelReply | ModelFailure
    try:
        got = await model.complete(ModelRequest(exchange.id, 1, body, DEADLINE_S), deltas.append, asked.append)
    except ModelFailure as failure:
        got = failure
    except Exception as error:  # noqa: BLE001  # what is no error of ours is a finding, whatever it is
        return Played(exchange, "not_understood", f"raised {error!r}", foreign=True)
    if exchange.request and not sent:
        sent = same_request(request, server.asked)
    if exchange.api == CHAT and server.asked != body:
        return Played(exchange, "not_understood", "the request did not arrive byte for byte", sent=sent)
    try:
        why = difference(got, meaning(exchange), server.status) or told(got, deltas, asked)
    except Exception as error:  # noqa: BLE001  # this reading is no better than the other: that is a finding too
        why = f"the recording could not be read: {error!r}"
    outcome = "error" if isinstance(got, ModelFailure) else "decoded"
    return Played(exchange, "not_understood" if why else outcome, why, sent=sent)


def requests_of(exchange: Exchange, streamed: bool) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """The request, the chat-completions request to be given to the adapter, and why that is another one, if it is."""
    request = exchange.request or minimal_request(streamed)
    if exchange.api == CHAT:
        return request, request, None
    try:
        return request, as_chat(request), None
    except (AttributeError, KeyError, TypeError) as error:
        return request, minimal_request(streamed), f"it cannot be written as chat completions: {error!r}"


def minimal_request(streamed: bool) -> dict[str, Any]:
    """A request that both formats know."""
    request = {"model": "recorded", "max_tokens": 1000, "messages": [{"role": "user", "content": "Go on."}]}
    return {**request, "stream": True} if streamed else request


def difference(got: ModelReply | ModelFailure, held: Answer | Failure, served: int) -> str:
    """The first way in which the outcome is not what the recording holds; empty: none."""
    if isinstance(got, ModelFailure):
        error = got.error
        if isinstance(held, Answer):
            return f"the answer was not read: {error.code}: {error.message}"
        if error.code != held.code:
            return f"code: {error.code}, by status and body {held.code}: {error.message}"
        if error.status != (None if held.status is None else served):
            return f"status: {error.status}, served was {served}"
        return (
            ""
            if one_line(held.words)[:500] in error.message
            else f"the message lacks the server's words: {error.message}"
        )
    if isinstance(held, Failure):
        return f"read as an answer, but it is a failure: {held.code} {held.words}"
    ours = as_answer(got)
    for name, value in ours._asdict().items():
        recorded = getattr(held, name)
        if not (same_calls(value, recorded) if name == "calls" else value == recorded):
            return f"{name}: {value!r:.300}, recorded is {recorded!r:.300}"
    return ""


def as_answer(reply: ModelReply) -> Answer:
    """What the adapter read, in the form that the recording was read in."""
    usage = reply.usage
    calls = [Call(call.provider_id, call.name, call.arguments) for call in reply.tool_calls]
    counted = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    return Answer(reply.text, reply.reasoning, calls, reply.finish_reason, *counted)


def same_calls(ours: list[Call], recorded: list[Call]) -> bool:
    """Ids are compared where the recording has them; arguments as text, or as values where they came as an object."""
    return len(ours) == len(recorded) and all(
        a.name == b.name and b.id in (None, a.id) and (a.arguments == b.arguments or _equal(a.arguments, b.arguments))
        for a, b in zip(ours, recorded, strict=True)
    )


def told(got: ModelReply | ModelFailure, deltas: list[Delta], asked: Sequence[AskedTool] = ()) -> str:
    """How what was told while it streamed differs from the reply that it was a part of; empty: not at all."""
    if isinstance(got, ModelFailure):
        return ""
    if tuple(asked) != got.tool_calls[: len(asked)]:
        return f"the calls told early are {asked!r:.300}, the reply's are {got.tool_calls!r:.300}"
    if not deltas:
        return ""
    for kind, whole in (("text", got.text), ("reasoning", got.reasoning)):
        pieces = "".join(delta.text for delta in deltas if delta.kind == kind)
        if pieces != (whole or ""):
            return f"the deltas of its {kind} are {pieces!r:.300}, the reply's {kind} is {whole!r:.300}"
    return ""


def one_line(text: str) -> str:
    return " ".join(text.split())


def _equal(a: str, b: str) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


def totals(played: list[Played]) -> dict[str, int]:
    outcomes = Counter(one.outcome for one in played)
    return {
        "exchanges": len(played),
        "decoded": outcomes["decoded"],
        "errors": outcomes["error"],
        "not_understood": outcomes["not_understood"],
        "foreign_exceptions": sum(one.foreign for one in played),
        "requests": sum(one.sent is not None for one in played),
        "requests_as_recorded": sum(one.sent == "" for one in played),
    }


def sentence(total: dict[str, int]) -> str:
    return (
        f"{total['exchanges']} exchanges, {total['decoded']} decoded equal, {total['errors']} right errors, "
        f"{total['not_understood']} not understood"
    )


def report(by_file: dict[str, list[Played]], left_out: Counter[str], output: str) -> int:
    """Prints what came of it; the exit code."""
    everything = [one for played in by_file.values() for one in played]
    missed = [one for one in everything if one.outcome == "not_understood"]
    if output == "json":
        result = {
            "files": {name: totals(played) for name, played in by_file.items()},
            "apis": {api: totals([one for one in everything if one.exchange.api == api]) for api in (CHAT, MESSAGES)},
            "total": totals(everything),
            "left_out": dict(left_out),
            "not_understood": [
                {"id": one.exchange.id, "api": one.exchange.api, "provider": one.exchange.provider, "why": one.why}
                for one in missed
            ],
            "requests_not_as_recorded": {one.exchange.id: one.sent for one in everything if one.sent},
        }
        print(json.dumps(result, indent=1))
        return 1 if missed else 0
    if left_out:
        print(f"left out: {', '.join(f'{count} of {api}' for api, count in left_out.most_common())}")
    for one in everything:
        if one.sent:
            print(f"request of {one.exchange.id} is sent in other words: {one.sent}")
    for one in missed:
        print(f"not understood: {one.exchange.id} ({one.exchange.api}, {one.exchange.provider}): {one.why}")
    for name, played in by_file.items():
        print(f"{name}: {sentence(totals(played))}")
    for api in (CHAT, MESSAGES):
        total = totals([one for one in everything if one.exchange.api == api])
        print(f"{api}: {sentence(total)}; {total['requests_as_recorded']} of {total['requests']} requests as recorded")
    print(f"exceptions that are not ours: {totals(everything)['foreign_exceptions']}")
    print(sentence(totals(everything)))
    return 1 if missed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, nargs="+", required=True)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    by_file: dict[str, list[Played]] = {}
    left_out: Counter[str] = Counter()
    for path in files_of(options.recordings):
        exchanges = list(read_exchanges(path))
        left_out.update(one.api for one in exchanges if one.api not in (CHAT, MESSAGES))
        by_file[path.name] = asyncio.run(play_all([one for one in exchanges if one.api in (CHAT, MESSAGES)]))
    sys.exit(report(by_file, left_out, options.output))


if __name__ == "__main__":
    main()
