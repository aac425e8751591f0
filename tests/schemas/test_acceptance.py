"""Who may write a run: the rule as a table, and against a plain model of it for any sequence of records."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.schemas.acceptance import Guard, Verdict, advance, judge
from ledgent.schemas.codec import GENESIS, Stored, digest_of, read_envelope
from ledgent.schemas.events import RunClaimed, RunCompleted, RunSuspended
from tests.schemas.chain import Chain, begun

CLAIM = RunClaimed(reason="taken_over")
WORK = RunSuspended(reason="input")


def verdict_on(chain: Chain, stored: Stored) -> Verdict:
    """Judged where the chain stands, with all its digests at hand."""

    def known(seq: int) -> str | None:
        return chain.records[seq - 1].digest if 1 <= seq <= len(chain.records) else None

    return judge(chain.guard, read_envelope(stored.body), stored, known)


@pytest.mark.parametrize(
    ("event", "fields", "verdict"),
    [
        (WORK, {}, Verdict.ACCEPTED),
        (CLAIM, {}, Verdict.ACCEPTED),
        (CLAIM, {"writer": "host/2"}, Verdict.ACCEPTED),
        (WORK, {"writer": "host/2"}, Verdict.FENCED),
        (WORK, {"epoch": 1}, Verdict.FENCED),
        (WORK, {"epoch": 3}, Verdict.FENCED),
        (CLAIM, {"epoch": 2}, Verdict.FENCED),
        (CLAIM, {"epoch": 4}, Verdict.FENCED),
        (WORK, {"seq": 5}, Verdict.FENCED),
        (WORK, {"seq": 3}, Verdict.FENCED),
        (WORK, {"seq": 1}, Verdict.FENCED),
        (CLAIM, {"seq": 5}, Verdict.FENCED),
        (WORK, {"previous": "f" * 64}, Verdict.BROKEN),
        (CLAIM, {"previous": "f" * 64}, Verdict.FENCED),
        (WORK, {"previous": "f" * 64, "writer": "host/2"}, Verdict.FENCED),
    ],
)
def test_the_verdict_on_the_next_record_of_a_run_in_its_second_epoch(
    event: Any, fields: dict[str, Any], verdict: Verdict
) -> None:
    chain = begun()
    chain.claim()
    assert (chain.guard.seq, chain.guard.epoch) == (3, 2)
    assert verdict_on(chain, chain.next(event, **fields)) is verdict


def test_a_record_whose_digest_does_not_match_its_bytes_is_broken_even_if_it_claims() -> None:
    chain = begun()
    for event in (WORK, CLAIM):
        forged = chain.next(event)._replace(digest="f" * 64)
        assert verdict_on(chain, forged) is Verdict.BROKEN


def test_a_record_that_names_another_predecessor_than_its_digest_does_is_broken() -> None:
    chain = begun()
    body = chain.next(WORK, previous="f" * 64).body
    assert verdict_on(chain, Stored(body, digest_of(chain.guard.digest, body))) is Verdict.BROKEN


def test_an_accepted_record_that_comes_again_is_a_duplicate() -> None:
    chain = begun()
    chain.suspend()
    assert [verdict_on(chain, stored) for stored in chain.records] == [Verdict.DUPLICATE] * 3


def test_without_the_older_digests_only_the_last_record_is_known_again() -> None:
    chain = begun()
    verdicts = [judge(chain.guard, read_envelope(stored.body), stored) for stored in chain.records]
    assert verdicts == [Verdict.FENCED, Verdict.DUPLICATE]


def test_another_record_in_the_place_of_an_accepted_one_is_fenced() -> None:
    chain = begun()
    fork = chain.other()
    chain.suspend()
    assert verdict_on(chain, fork.next(RunCompleted(output="other"))) is Verdict.FENCED


def test_after_the_end_everything_new_is_fenced_and_everything_old_a_duplicate() -> None:
    chain = begun()
    last = chain.complete()
    assert chain.guard.ended
    assert verdict_on(chain, chain.next(WORK)) is Verdict.FENCED
    assert verdict_on(chain, chain.next(CLAIM)) is Verdict.FENCED
    assert verdict_on(chain, last) is Verdict.DUPLICATE


def test_a_run_begins_with_a_claim_of_the_first_epoch_on_nothing() -> None:
    chain = Chain()
    assert verdict_on(chain, chain.next(RunClaimed(reason="started"))) is Verdict.ACCEPTED
    assert verdict_on(chain, chain.next(WORK)) is Verdict.FENCED
    assert verdict_on(chain, chain.next(CLAIM, epoch=2)) is Verdict.FENCED
    assert verdict_on(chain, chain.next(CLAIM, previous="f" * 64)) is Verdict.FENCED


def test_a_claim_that_lost_may_be_made_again_in_its_place() -> None:
    chain = begun()
    lost = chain.other()
    chain.claim("winner")
    assert verdict_on(chain, lost.next(CLAIM, writer="loser")) is Verdict.FENCED
    assert verdict_on(chain, chain.next(CLAIM, writer="loser")) is Verdict.ACCEPTED


def test_the_guard_is_all_that_the_next_verdict_needs() -> None:
    chain = begun()
    envelope = read_envelope(chain.records[-1].body)
    assert advance(envelope, chain.records[-1].digest) == chain.guard
    assert Guard() == Guard(0, "", 0, GENESIS, False)


Move = Callable[[Chain], Stored]


def _moves() -> st.SearchStrategy[Move]:
    """What writers do: go on, claim, write late from an older state, resend, forge."""
    writers = st.sampled_from(["a", "b", "c"])

    def goes_on(writer: str) -> Move:
        return lambda chain: chain.next(WORK, writer=writer)

    def claims(writer: str) -> Move:
        return lambda chain: chain.next(CLAIM, writer=writer)

    def resends(back: int) -> Move:
        return lambda chain: chain.records[-1 - back % len(chain.records)] if chain.records else chain.next(WORK)

    def late(back: int, writer: str) -> Move:
        def move(chain: Chain) -> Stored:
            old = Chain(chain.run_id)
            for stored in chain.records[: max(0, len(chain.records) - back)]:
                old.records.append(stored)
                old.guard = advance(read_envelope(stored.body), stored.digest)
            return old.next(CLAIM if back % 2 else WORK, writer=writer)

        return move

    def forges(field: str) -> Move:
        wrong: Any = {"seq": 9, "epoch": 9, "previous": "e" * 64}[field]
        return lambda chain: chain.next(WORK, **{field: wrong})

    return st.one_of(
        writers.map(goes_on),
        writers.map(claims),
        st.integers(0, 5).map(resends),
        st.builds(late, st.integers(1, 5), writers),
        st.sampled_from(["seq", "epoch", "previous"]).map(forges),
    )


@settings(max_examples=150, deadline=None)
@given(moves=st.lists(_moves(), max_size=30))
def test_whatever_writers_do_what_is_accepted_is_one_unbroken_chain_of_holders(moves: list[Move]) -> None:
    chain = Chain()
    for move in moves:
        stored = move(chain)
        verdict, before = verdict_on(chain, stored), list(chain.records)
        if verdict is Verdict.ACCEPTED:
            chain.records.append(stored)
            chain.guard = advance(read_envelope(stored.body), stored.digest)
        assert (verdict is Verdict.DUPLICATE) == (stored in before)
    envelopes = [read_envelope(stored.body) for stored in chain.records]
    digests = [GENESIS, *(stored.digest for stored in chain.records)]
    holder, epoch = "", 0
    for seq, envelope in enumerate(envelopes, 1):
        assert envelope.seq == seq
        assert envelope.previous == digests[seq - 1]
        if envelope.type == "run.claimed":
            holder, epoch = envelope.writer, epoch + 1
        assert (envelope.writer, envelope.epoch) == (holder, epoch)
