from itertools import pairwise
from random import Random

import pytest

from ledgent.processors.folding import Batch, marker_in
from ledgent.processors.run_states import decode_entry, encode_entry, fold
from ledgent.schemas.acceptance import Guard, Verdict, advance
from ledgent.schemas.codec import GENESIS, Stored, digest_of, read_envelope
from ledgent.schemas.errors import UnknownEventType
from ledgent.schemas.snapshots import MAX_RANGES, NEAR, Snapshot, decode_snapshot, encode_snapshot, widened
from ledgent.schemas.system_events import AlertRaised
from tests.processors.chain import Chain, conversation, mixed, runs, with_tools, zombies_of
from tests.processors.tables import READ_AT, Rows, entries_of, folded, places, windows_of


def test_an_entry_has_the_guard_of_its_runs_accepted_records() -> None:
    chains = runs(10)
    log = mixed(chains, 1, duplicates=0.2, zombies=True)
    table: Rows = {}
    folded(places(log), table, {})
    entries = entries_of(table)
    assert entries.keys() == {chain.run_id for chain in chains}
    for chain in chains:
        last = chain.records[-1]
        assert entries[chain.run_id].guard == advance(read_envelope(last.body), last.digest)
        assert entries[chain.run_id].agent == "shop"
    assert marker_in(table, 0) == len(log) - 1


def test_all_records_of_a_run_are_in_its_ranges() -> None:
    log = mixed(runs(10), 2)
    table: Rows = {}
    folded(places(log), table, {})
    entries = entries_of(table)
    for offset, stored in enumerate(log):
        ranges = entries[read_envelope(stored.body).run_id].ranges
        assert any(first <= offset <= last for first, last in ranges)


def test_a_run_in_many_pieces_keeps_few_ranges_that_hold_them_all() -> None:
    offsets = [n * 3 * NEAR + n * n for n in range(4 * MAX_RANGES)]
    ranges: tuple[tuple[int, int], ...] = ()
    for offset in offsets:
        ranges = widened(ranges, offset)
    assert len(ranges) == MAX_RANGES
    assert all(any(first <= offset <= last for first, last in ranges) for offset in offsets)
    assert all(one[1] < two[0] for one, two in pairwise(ranges))


def test_it_says_why_a_run_waits_while_that_is_its_last_record() -> None:
    chain = Chain("a")
    conversation(chain)
    seen = []
    table: Rows = {}
    for place in places(chain.records):
        folded([place], table, {})
        seen.append(entries_of(table)["a"].suspended)
    assert seen == ["", "", "input", "", "", "handed_over", "", "", "", "", ""]


def test_what_a_writer_that_lost_the_run_still_writes_changes_nothing() -> None:
    chain = Chain("a")
    with_tools(chain)
    late = zombies_of(chain)
    clean: Rows = {}
    folded(places(chain.records), clean, {})
    table: Rows = {}
    windows: Rows = {}
    folded(places([*chain.records, *late, chain.records[3]]), table, windows)
    assert entries_of(table)["a"].guard == entries_of(clean)["a"].guard
    assert entries_of(table)["a"].ranges == entries_of(clean)["a"].ranges
    (counted,) = [window for window in windows_of(windows).values() if window.kind == "record"]
    assert counted.errors == {"fenced": 2, "duplicate": 1}


def test_a_holders_record_with_a_wrong_digest_raises_an_alert() -> None:
    chain = Chain("a").start()
    good = chain.records[-1]
    done = folded(places([*chain.records[:-1], Stored(good.body, "0" * 64)]), {}, {})
    (alert,) = done.alerts
    assert isinstance(alert, AlertRaised)
    assert (alert.kind, alert.subject_run_id, alert.alert_id) == ("broken", "a", "broken/a/1")


def test_a_payload_that_cannot_be_read_still_advances_its_run() -> None:
    chain = Chain("a").start()
    chain.asks("m1")
    body = chain.records[2].body.replace(b'"provider":"openai"', b'"provider":12345678')
    spoilt = Stored(body, digest_of(chain.records[1].digest, body))
    table: Rows = {}
    done = folded(places([*chain.records[:2], spoilt]), table, {})
    assert entries_of(table)["a"].seq == 3
    assert [(letter.offset, letter.run_id) for letter in done.unreadable] == [(2, "a")]


def test_garbage_is_put_aside_and_the_partition_goes_on() -> None:
    chain = Chain("a").start()
    table: Rows = {}
    windows: Rows = {}
    done = folded(places([Stored(b"\xff\x00", ""), *chain.records]), table, windows)
    assert [(letter.offset, letter.run_id) for letter in done.unreadable] == [(0, None)]
    assert entries_of(table)["a"].seq == 2
    assert [window.errors for window in windows_of(windows).values()] == [{"unreadable": 1}]


def test_an_unknown_event_type_stops_it_with_what_came_before_folded() -> None:
    chain, other = Chain("a").start(), Chain("b").start()
    body = other.records[0].body.replace(b'"version":1', b'"version":9')
    newer = Stored(body, digest_of(GENESIS, body))
    batch = Batch(0, {}, {})
    first, second = places([chain.records[0], newer])
    batch.add(first, READ_AT)
    with pytest.raises(UnknownEventType):
        batch.add(second, READ_AT)
    assert batch.folded_to == 0
    assert list(batch.entries) == ["a"]
    again = Batch(0, batch.run_records() | batch.marker_record(), {})
    with pytest.raises(UnknownEventType):
        again.add(second, READ_AT)
    assert again.marker_record() == batch.marker_record()


def test_a_record_that_is_read_again_gets_its_first_verdict() -> None:
    chain = Chain("a")
    with_tools(chain)
    entry, verdicts = None, []
    log = places([*chain.records[:5], chain.records[2], *chain.records[5:]])
    for place in log:
        done = fold(entry, place, read_envelope(place.stored.body), marker=-1)
        assert done is not None
        entry = done.entry
        verdicts.append(done.judged)
    for place, judged in zip(log, verdicts, strict=True):
        again = fold(entry, place, read_envelope(place.stored.body), marker=-1)
        assert again is not None
        assert (again.entry, again.judged) == (entry, judged)
    assert [judged.verdict for judged in verdicts].count(Verdict.DUPLICATE) == 1


def test_an_entry_forgets_verdicts_once_the_partition_is_known_to_be_folded() -> None:
    chain = Chain("a")
    with_tools(chain)
    table: Rows = {}
    log = places(chain.records)
    folded(log[:6], table, {})
    folded(log[6:8], table, {})
    assert [judged.offset for judged in decode_entry(table[b"a"]).judged] == [6, 7]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_part_of_a_batch_was_written_the_tables_come_out_the_same(seed: int) -> None:
    """A crash leaves any of a batch's runs and windows written, and the marker only if all are."""
    random = Random(seed)
    log = places(mixed(runs(8), seed, duplicates=0.1, zombies=True))
    whole_runs: Rows = {}
    whole_windows: Rows = {}
    folded(log, whole_runs, whole_windows)
    table: Rows = {}
    windows: Rows = {}
    at = 0
    while at < len(log):
        size = random.randint(1, 40)
        batch = Batch(0, table, windows)
        for place in log[at : at + size]:
            batch.add(place, READ_AT)
        crashed = random.random() < 0.6
        for rows, new in ((table, batch.run_records()), (windows, batch.window_records())):
            rows |= {key: value for key, value in new.items() if not crashed or random.random() < 0.5}
        if not crashed:
            table |= batch.marker_record()
            at += size
        at = max(at - random.randint(0, 5), 0) if crashed else at
    assert entries_of(table) == entries_of(whole_runs)
    assert windows_of(windows) == windows_of(whole_windows)
    assert marker_in(table, 0) == len(log) - 1


def test_others_read_an_entry_as_a_snapshot() -> None:
    chain = Chain("a").start()
    table: Rows = {}
    folded(places(chain.records), table, {})
    entry = decode_entry(table[b"a"])
    snapshot = decode_snapshot(b"a", encode_entry(entry))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.guard == Guard(1, "w1", 2, chain.records[-1].digest, False)
    assert decode_snapshot(b"a", encode_snapshot(snapshot)) == snapshot
