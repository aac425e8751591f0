"""The queries that have names: each runs as it stands, and says what the log's own records add up to."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from ledgent.processors.clickhouse.schema import TABLES
from ledgent.processors.named_queries import ALWAYS, document, named_queries, named_query
from ledgent.processors.sink import Sink
from ledgent.processors.store import Store, open_store
from ledgent.schemas.codec import Recorded
from ledgent.schemas.errors import UsageError
from ledgent.schemas.events import (
    TERMINAL_TYPES,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    RetryScheduled,
    RunCompleted,
    RunFailed,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallStarted,
    ToolCallUncertain,
)
from tests.processors.chain import START, Chain, ListFeed, mixed, runs

DOCUMENT = Path(__file__).parents[2] / "docs" / "sql.md"
QUERIES = {query.name: query for query in named_queries()}


def looping(run_id: str) -> Chain:
    """Asks for the same thing three times, then gives up."""
    chain = Chain(run_id).start()
    for step in ("m1", "m2", "m3"):
        chain.asks(step)
        chain.answers(step, tools=("find",))
        chain.calls(f"{step}.t0")
        chain.returns(f"{step}.t0")
    chain.put(RunCompleted(output="no"))
    return chain


CHAINS = [*runs(20), looping("looping")]
RECORDS: list[Recorded] = [record for chain in CHAINS for record in chain.recorded()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('named')}/store") as store:
        Sink(ListFeed(mixed(CHAINS, seed=2, duplicates=0.1, zombies=True)), store, block_records=40).catch_up()
        yield store


def asked(store: Store, name: str) -> list[dict[str, Any]]:
    answer = store.query_people(QUERIES[name].sql, tables=frozenset(table.name for table in TABLES))
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def events(*kinds: type) -> list[Any]:
    return [record.event for record in RECORDS if isinstance(record.event, kinds)]


@pytest.mark.parametrize("name", QUERIES)
def test_each_runs_as_it_stands_and_says_what_it_is_for(store: Store, name: str) -> None:
    query = QUERIES[name]
    assert ALWAYS in query.sql
    assert query.about.endswith(".")
    asked(store, name)
    late = query.since(START + timedelta(days=365))
    assert store.query_people(late, tables=frozenset(table.name for table in TABLES)).rows == []


def test_tokens_and_money_are_those_of_the_answers(store: Store) -> None:
    answers = events(ModelCallCompleted)
    (row,) = asked(store, "cost-by-model")
    assert (row["model"], row["day"]) == ("small", START.date())
    assert row["usd"] == pytest.approx(sum(answer.cost_usd for answer in answers))
    assert row["input"] == sum(answer.usage.input_tokens for answer in answers)
    assert row["attempts"] == len(events(ModelCallStarted))
    (hits,) = asked(store, "cache-hits")
    assert hits["cached"] == sum(answer.usage.cached_tokens for answer in answers)
    (thought,) = asked(store, "reasoning")
    assert thought["reasoning"] == sum(answer.usage.reasoning_tokens for answer in answers)
    (agent,) = asked(store, "cost-by-agent")
    assert (agent["runs"], agent["usd"]) == (len(CHAINS), pytest.approx(row["usd"]))


def test_what_may_have_been_billed_twice_is_told_apart(store: Store) -> None:
    lost = [event for event in events(ModelCallFailed) if event.maybe_cost_usd]
    (row,) = asked(store, "maybe-billed-twice")
    assert row["runs"] == len(lost)
    assert row["maybe_usd"] == pytest.approx(sum(event.maybe_cost_usd for event in lost))
    assert row["tokens"] == sum(event.maybe_usage.input_tokens + event.maybe_usage.output_tokens for event in lost)


def test_runs_are_counted_by_how_they_ended(store: Store) -> None:
    last = [chain.recorded()[-1].event for chain in CHAINS]
    ended = Counter(event.type.removeprefix("run.") for event in last if event.type in TERMINAL_TYPES)
    rows = asked(store, "endings")
    found = Counter[str]()
    for row in rows:
        found[row["status"]] += row["runs"]
    assert found == ended
    assert {row["reason"] for row in rows if row["status"] == "failed"} == {"auth"}
    assert {row["reason"] for row in rows if row["status"] == "limited"} == {"steps"}
    (hour,) = asked(store, "runs-by-hour")
    assert (hour["runs"], hour["completed"], hour["failed"]) == (len(CHAINS), ended["completed"], ended["failed"])
    assert hour["open"] == len(asked(store, "open-runs")) == len(CHAINS) - ended.total()
    assert sum(row["runs"] for row in asked(store, "tokens-per-outcome")) == len(CHAINS)


def test_errors_are_those_of_the_attempts(store: Store) -> None:
    failed = events(ModelCallFailed, ToolCallFailed)
    by_code = {row["code"]: row for row in asked(store, "errors-by-code")}
    codes = Counter(str(event.error.code) for event in failed)
    codes["interrupted"] += len(events(ToolCallUncertain))
    assert {code: by_code[code]["errors"] for code in codes} == codes
    assert by_code["auth"]["completed_anyway"] == 0
    hours = asked(store, "errors-by-hour")
    assert sum(row["errors"] for row in hours if row["kind"] == "model_call") == len(events(ModelCallFailed))
    paths = {row["run_id"]: row for row in asked(store, "paths-to-failure")}
    assert paths.keys() == {record.run_id for record in RECORDS if isinstance(record.event, RunFailed)}
    assert {row["ended_with"] for row in paths.values()} == {"auth"}
    assert all(row["path"].endswith("model_call small: auth") for row in paths.values())


def test_a_retry_pays_off_where_a_later_attempt_succeeds(store: Store) -> None:
    attempts = defaultdict[tuple[str, str], list[Any]](list)
    for record in RECORDS:
        if isinstance(record.event, ModelCallFailed | ModelCallCompleted | ToolCallFailed | ToolCallCompleted):
            attempts[record.run_id, record.event.call_id].append(record.event)
    again = {key: outcomes for key, outcomes in attempts.items() if len(outcomes) > 1}
    first = Counter(str(outcomes[0].error.code) for outcomes in again.values())
    saved = Counter(str(outcomes[0].error.code) for outcomes in again.values() if not hasattr(outcomes[-1], "error"))
    rows = asked(store, "retries")
    assert {row["first_error"]: row["calls"] for row in rows} == first
    assert {row["first_error"]: row["recovered"] for row in rows} == saved
    waits = {(row["kind"], row["name"]): row["waits"] for row in asked(store, "waits")}
    fired = {record.event.timer_seq for record in RECORDS if isinstance(record.event, TimerFired)}
    scheduled = Counter(
        str(record.event.code) for record in RECORDS if isinstance(record.event, RetryScheduled) and record.seq in fired
    )
    assert {code: waits["retry_wait", code] for code in scheduled} == scheduled


def test_tools_are_timed_and_their_errors_counted(store: Store) -> None:
    began = Counter(event.name for event in events(ToolCallStarted))
    rejected = Counter(event.name for event in events(ToolCallRejected))
    errors = {row["tool"]: row for row in asked(store, "tool-errors")}
    assert {tool: row["attempts"] for tool, row in errors.items()} == began + rejected
    assert {tool: row["rejected"] for tool, row in errors.items() if row["rejected"]} == rejected
    assert sum(row["uncertain"] for row in errors.values()) == len(events(ToolCallUncertain))
    assert sum(row["failed"] for row in errors.values()) == len(events(ToolCallFailed))
    (wrong,) = asked(store, "rejected-arguments")
    assert (wrong["tool"], wrong["reason"], wrong["calls"]) == ("fnd", "unknown_tool", rejected["fnd"])
    names = {
        (record.run_id, record.event.call_id): record.event.name
        for record in RECORDS
        if isinstance(record.event, ToolCallStarted)
    }
    took = defaultdict[str, list[float]](list)
    for record in RECORDS:
        if isinstance(record.event, ToolCallCompleted):
            took[names[record.run_id, record.event.call_id]].append(record.event.duration_ms)
    slow = {row["tool"]: row for row in asked(store, "slowest-tools")}
    assert slow["find"]["p50_ms"] == median(took["find"])


def test_a_run_that_repeats_itself_is_named(store: Store) -> None:
    (row,) = asked(store, "loops")
    assert (row["run_id"], row["tool"], row["arguments"], row["times"]) == ("looping", "find", '{"n": 1}', 3)


def test_runs_that_changed_hands_are_named(store: Store) -> None:
    claims = Counter(record.run_id for record in RECORDS if record.event.type == "run.claimed")
    rows = {row["run_id"]: row["claims"] for row in asked(store, "take-overs")}
    assert {run_id: rows[run_id] for run_id, count in claims.items() if count > 1} == {
        run_id: count for run_id, count in claims.items() if count > 1
    }


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no query named 'slow-tools'. Did you mean slowest-tools\?"):
        named_query("slow-tools")


def test_the_document_is_that_of_the_code() -> None:
    assert DOCUMENT.read_text() == document(), "write it with: ledgent schema sql > docs/sql.md"
