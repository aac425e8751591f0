from datetime import timedelta

import pytest

from ledgent.processors.metrics import OPEN_FOR, OPEN_OFFSETS, Window, WindowKey, encode_key, encode_window, outlived
from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.events import ModelCallFailed
from ledgent.schemas.values import Usage
from tests.processors.chain import START, Chain, error, taken_over, with_retries, with_tools
from tests.processors.tables import Rows, folded, places, windows_of

MINUTE = timedelta(minutes=1)


def counted(*chains: Chain) -> dict[tuple[str, str], Window]:
    """The windows of all these runs, which are within one minute, by kind and name."""
    windows: Rows = {}
    folded(places([record for chain in chains for record in chain.records]), {}, windows)
    found = {(window.kind, window.name): window for window in windows_of(windows).values()}
    assert len(found) == len(windows)
    return found


def test_answers_add_up_to_tokens_cost_and_latency() -> None:
    chain = Chain("a")
    with_tools(chain)
    model = counted(chain)["model", "small"]
    assert (model.calls, model.attempts, model.retries, model.errors) == (2, 2, 0, {})
    assert (model.input_tokens, model.output_tokens, model.cached_tokens, model.reasoning_tokens) == (200, 40, 20, 10)
    assert model.cost_usd == pytest.approx(0.002)
    assert (model.latency_ms_sum, model.latency_ms_max, model.latency_count) == (19.0, 9.5, 2)
    assert (model.agent, model.start, model.folded_to) == ("shop", START, 11 - 1)


def test_each_tool_has_a_window_and_names_that_a_model_made_up_share_one() -> None:
    chain = Chain("a")
    with_tools(chain)
    windows = counted(chain)
    assert windows["tool", "find"].calls == windows["tool", "pay"].calls == 1
    assert windows["tool", ""].errors == {"unknown_tool": 1}
    assert windows["tool", ""].calls == 0


def test_a_retry_is_an_attempt_of_the_same_call() -> None:
    chain = Chain("a")
    with_retries(chain)
    windows = counted(chain)
    model, tool = windows["model", "small"], windows["tool", "find"]
    assert (model.calls, model.attempts, model.retries, model.errors) == (1, 2, 1, {"rate_limited": 1})
    assert (tool.calls, tool.attempts, tool.retries, tool.errors) == (1, 2, 1, {"timeout": 1})
    assert (model.latency_count, tool.latency_count) == (2, 1)


def test_a_call_without_a_known_outcome_is_an_error() -> None:
    chain = Chain("a")
    taken_over(chain)
    windows = counted(chain)
    assert windows["tool", "pay"].errors == {"uncertain": 1}
    assert windows["model", "small"].errors == {"auth": 1}


def test_what_a_failed_attempt_used_counts() -> None:
    chain = Chain("a").start()
    chain.asks("m1")
    used = Usage(input_tokens=7, output_tokens=3)
    chain.put(ModelCallFailed(call_id="m1", error=error(ErrorCode.TIMEOUT), usage=used, cost_usd=0.5), "m1", 1)
    model = counted(chain)["model", "small"]
    assert (model.input_tokens, model.output_tokens, model.cost_usd, model.latency_count) == (7, 3, 0.5, 0)


def test_windows_are_of_full_minutes_by_the_records_own_time() -> None:
    early, late = Chain("a", at=START - timedelta(milliseconds=25)), Chain("b", at=START + 5 * MINUTE)
    for chain in (early, late):
        chain.start()
        chain.asks("m1")
        chain.answers("m1")
    windows: Rows = {}
    folded(places([*early.records, *late.records]), {}, windows)
    found = sorted((window.start, window.calls, window.latency_count) for window in windows_of(windows).values())
    assert found == [(START - MINUTE, 1, 0), (START, 0, 1), (START + 5 * MINUTE, 1, 1)]


def test_each_partition_has_windows_of_its_own() -> None:
    windows: Rows = {}
    for partition in (0, 1):
        chain = Chain(f"run-{partition}").start()
        chain.asks("m1")
        folded(places(chain.records, partition), {}, windows, partition)
    assert sorted((window.partition, window.calls) for window in windows_of(windows).values()) == [(0, 1), (1, 1)]


def test_a_window_leaves_memory_when_its_partition_is_long_past_it_in_time_and_in_records() -> None:
    def window(partition: int, minutes: int, offset: int) -> dict[bytes, bytes]:
        key = WindowKey(partition, START + minutes * MINUTE, "model", "shop", "small")
        return {encode_key(key): encode_window(Window(*key, folded_to=offset))}

    hours = OPEN_FOR // MINUTE
    past, young, recent, other = window(0, 0, 4), window(0, 1, 4), window(0, -9, 5), window(1, 0, 0)
    newest = window(0, hours + 1, 5 + OPEN_OFFSETS)
    assert outlived(past | young | recent | other | newest) == list(past)
    assert outlived(past | window(0, hours + 1, 4 + OPEN_OFFSETS)) == []
    assert outlived(past | window(0, hours, 5 + OPEN_OFFSETS)) == []
