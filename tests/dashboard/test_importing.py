"""Runs that other systems recorded, imported as such; exports in the forms that other systems read."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, RetryPolicy, ScriptedModel, Trim, tool
from ledgent.agent.importing import import_chat
from ledgent.agent.rebuild import rebuilt_request
from ledgent.agent.verify import verify
from ledgent.dashboard.exporting import chat_lines, export_lines, span_lines
from ledgent.dashboard.importing import check_files, import_chats, import_records, lines_of
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import ModelCallStarted, RunStarted, ToolCallCompleted
from ledgent.schemas.state import Status
from tests.agent.recorded import events_of, only, state_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def asked(*calls: tuple[str, str, str]) -> dict[str, Any]:
    functions = [{"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in calls]
    return {"role": "assistant", "content": None, "tool_calls": functions}


def answered(id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Serve."},
    {"role": "user", "content": "two things"},
    asked(("same", "look", "{not JSON"), ("same", "pay", '{"usd": 5}')),
    answered("same", "nothing “ü”"),
    answered("same", ""),
    {"role": "assistant", "content": "Which?"},
    {"role": "user", "content": "both"},
    {"role": "assistant", "content": "Done."},
]


def line_of(messages: list[dict[str, Any]], **fields: Any) -> bytes:
    return orjson.dumps({"messages": messages, **fields})


async def imported(messages: list[dict[str, Any]], **fields: Any) -> tuple[MemoryLog, str]:
    log = MemoryLog()
    run_id, records = await import_chat(log, line_of(messages, **fields), NOW)
    assert records == len(list(log.records(run_id)))
    return log, run_id


async def test_the_messages_of_an_imported_run_are_those_that_were_recorded() -> None:
    log, run_id = await imported(CHAT, model="m", agent="clerk", reward=0.5, info={"not": "short"})
    (exported,) = map(json.loads, chat_lines(log, [run_id]))
    assert exported["messages"] == CHAT
    assert (exported["agent"], exported["model"], exported["status"]) == ("clerk", "m", "completed")
    assert only(log, run_id, RunStarted).labels == {"reward": "0.5"}


async def test_an_imported_run_is_whole_and_never_said_to_be_decided_again() -> None:
    log, run_id = await imported(CHAT)
    certificate = verify(log, run_id)
    assert (certificate.verdict, certificate.ok, certificate.complete) == ("imported", True, True)
    assert certificate.decisions == 0
    started = only(log, run_id, RunStarted)
    assert started.imported is not None
    assert (started.imported.source, started.imported.left_out) == ("openai", 0)
    assert {event.request_digest for event in events_of(log, run_id, ModelCallStarted)} == {""}
    records = log.storage.runs[run_id]
    changed = records[4]._replace(body=records[4].body.replace(b"JSON", b"NOSJ"))
    assert changed != records[4], "the fifth record is the first answer"
    log.storage.runs[run_id] = [*records[:4], changed, *records[5:]]
    assert verify(log, run_id)[:3] == (run_id, "broken", 4)


async def test_the_same_line_is_imported_once_and_times_are_kept() -> None:
    log = MemoryLog()
    timed = [{**message, "timestamp": f"2025-03-01T10:00:0{at}"} for at, message in enumerate(CHAT)]
    run_id, written = await import_chat(log, line_of(timed), NOW)
    assert await import_chat(log, line_of(timed) + b"\n", NOW) == (run_id, 0)
    times = [decode(stored).at for stored in log.records(run_id)]
    assert (times[0], times[-1]) == (datetime(2025, 3, 1, 10, tzinfo=UTC), datetime(2025, 3, 1, 10, 0, 7, tzinfo=UTC))
    assert written == len(times)
    assert run_id < f"{int(NOW.timestamp() * 1000):012x}"


async def test_a_result_belongs_to_the_call_that_it_names() -> None:
    asking = asked(("one", "look", "{}"), ("two", "pay", "{}"))
    log, run_id = await imported([CHAT[1], asking, answered("two", "paid"), answered("one", "looked")])
    results = [(event.call_id, event.result) for event in events_of(log, run_id, ToolCallCompleted)]
    assert results == [("m1.t1", "paid"), ("m1.t0", "looked")]


async def test_what_no_event_can_hold_is_counted() -> None:
    odd = [
        *CHAT,
        {"role": "note", "content": "by the harness"},
        answered("nobody", "asked"),
        {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}]},
    ]
    log, run_id = await imported(odd)
    imported_as = only(log, run_id, RunStarted).imported
    assert imported_as is not None
    assert imported_as.left_out == 3
    assert json.loads(next(chat_lines(log, [run_id])))["messages"] == [*CHAT, {"role": "user", "content": "see"}]


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"messages": []}', b'{"messages": [{"content": "x"}]}'])
async def test_what_is_no_recorded_run_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError):
        await import_chat(MemoryLog(), line, NOW)


async def test_lines_that_hold_no_run_are_named_and_the_others_imported(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_bytes(line_of(CHAT) + b"\n\nnothing\n" + line_of(CHAT[:2]) + b"\n")
    log = MemoryLog()
    found, refused = await import_chats(log, file)
    assert found[:2] == (2, 2)
    assert len(refused) == 1
    assert "line 3" in refused[0]


@tool
async def look(what: str) -> str:
    """Looks."""
    return what


async def test_messages_that_the_model_was_no_longer_sent_are_exported() -> None:
    log = MemoryLog()
    turns = [*[Call("look", what=f"{turn}: {'words ' * 40}") for turn in range(8)], "done"]
    agent = Agent("looker", ScriptedModel(turns, context_window=500), "Look.", tools=[look], context=Trim())
    result = await agent.run("go", log=log)
    (chat,) = map(json.loads, chat_lines(log, [result.run_id]))
    assert [message["role"] for message in chat["messages"]] == [
        "system",
        "user",
        *["assistant", "tool"] * 8,
        "assistant",
    ]
    assert chat["tools"][0]["function"]["name"] == "look"
    assert rebuilt_request(result.run_id, log.records(result.run_id), "m9").body.count(b'"role"') < 19


async def test_spans_are_exported_as_collectors_read_them() -> None:
    log = MemoryLog()
    turns = [Attempts(Fail("rate_limited"), [Call("look", what="a"), Call("pay")]), "done"]
    model = ScriptedModel(turns, retry=RetryPolicy(first_s=0.001))
    result = await Agent("looker", model, tools=[look]).run("go", log=log)
    (document,) = map(json.loads, span_lines(log, [result.run_id]))
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    names = [span["name"] for span in spans]
    assert names == [
        "invoke_agent looker",
        "chat scripted",
        "retry_wait",
        "chat scripted",
        "execute_tool look",
        "execute_tool pay",
        "chat scripted",
    ]
    ids = {span["spanId"]: span for span in spans}
    assert len(ids) == 7
    assert {span["traceId"] for span in spans} == {result.run_id.replace("-", "")}
    for span in spans:
        assert len(span["spanId"]) == 16
        assert ("parentSpanId" in span) == (span["name"] != "invoke_agent looker")
        assert span.get("parentSpanId", span["spanId"]) in ids
        assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 1_700_000_000 * 10**9
    values = {each["key"]: each["value"] for each in spans[1]["attributes"]}
    assert values["error.type"] == {"stringValue": "rate_limited"}
    assert spans[1]["status"]["code"] == 2
    assert spans[4]["parentSpanId"] == spans[3]["spanId"]
    used = {each["key"]: each["value"] for each in spans[3]["attributes"]}
    assert int(used["gen_ai.usage.input_tokens"]["intValue"]) > 0
    records = list(log.records(result.run_id))
    assert int(spans[0]["startTimeUnixNano"]) // 1000 == round(decode(records[0]).at.timestamp() * 1_000_000)


def recorded_messages(line: bytes) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads(line)["messages"]
    return [message for message in messages if message["role"] in ("system", "user", "assistant", "tool")]


def essence(message: dict[str, Any]) -> dict[str, Any]:
    """The message without what harnesses and providers put beside it."""
    kept = {"role": message["role"], "content": message["content"]}
    if message["role"] == "tool":
        kept["tool_call_id"] = message["tool_call_id"]
    if message.get("tool_calls"):
        kept["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {name: call["function"][name] for name in ("name", "arguments")},
            }
            for call in message["tool_calls"]
        ]
    return kept


@pytest.mark.slow
async def test_all_recorded_runs_are_imported_verified_exported_imported_and_verified_again(
    recorded_data: Path, tmp_path: Path
) -> None:
    log = SqliteLog(tmp_path / "log.db")
    folder, sources = recorded_data / "tau" / "dev", list[bytes]()
    for file in sorted((*folder.glob("replay/*"), *folder.glob("corpus/*"))):
        lines = list(lines_of(file))
        found, refused = await import_chats(log, file)
        empty = [line for line in lines if not json.loads(line)["messages"]]
        assert (found.runs, len(refused)) == (len(lines) - len(empty), len(empty)), refused
        sources += [line for line in lines if line not in empty]
    runs = list(log.run_ids())
    assert len(runs) == len(set(sources)) > 700
    for line in sources:
        run_id, written = await import_chat(log, line, NOW)
        assert written == 0, "it is there already"
        (exported,) = map(json.loads, chat_lines(log, [run_id]))
        assert exported["messages"] == [*map(essence, recorded_messages(line))]
    certificates = [verify(log, run_id) for run_id in runs]
    assert {certificate.verdict for certificate in certificates} == {"imported"}
    assert all(state_of(log, run_id).status is Status.COMPLETED for run_id in runs)

    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"".join(export_lines(log, runs)))
    assert check_files([whole], {})[whole].faults == []
    other = SqliteLog(tmp_path / "other.db")
    assert await import_records(other, whole) == (len(runs), len(runs), sum(c.records for c in certificates))
    assert [verify(other, run_id) for run_id in other.run_ids()] == certificates
    assert b"".join(export_lines(other, runs)) == whole.read_bytes()
    log.close()
    other.close()
