"""What every log promises: one suite for each of its ports. An adapter's tests are short subclasses."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from ledgent.schemas.codec import MAX_RECORD_BYTES, Stored
from ledgent.schemas.errors import ConcurrentAppend, RecordTooLarge, RequestRefused
from ledgent.schemas.events import RunClaimed, RunCompleted, RunSuspended
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import AnyRequest, CancelRun, EndConversation, SendMessage, StartRun
from ledgent.schemas.system_events import CircuitClosed, decode_system
from tests.schemas.chain import Chain, begun

CLERK = frozenset({"clerk"})
NOT_AT_ALL_S = 0.0
SOON_S = 5.0
"""Longer than any log takes; no test waits for it to pass."""


class LogContract:
    """Opens adapters over one storage, which act as processes that share a log."""

    def open(self) -> Log:
        """One more process's log over the same storage."""
        raise NotImplementedError

    def open_mortal(self) -> Log:
        """One whose process is dead to the others once `die` was called, or soon after."""
        raise NotImplementedError

    def die(self, log: Log) -> None:
        raise NotImplementedError

    soon_s = SOON_S

    silence_counts = False
    """Whether a dead process's runs are given out later than what it had only taken."""

    async def join(self, first: Log, *others: Log) -> None:
        """All of them are ready to take. Where one alone is given requests, it is the first, and then the next."""

    def heir(self, holder: Log, other: Log) -> Log:
        """Who may be given what a living holder has given back."""
        return other

    async def begin(self, log: Log, chain: Chain) -> None:
        """The log's process is at work on the run, which was requested."""
        await log.append(chain.records, accept=start_of(chain))

    async def taken(self, log: Log, agents: frozenset[str] | None = CLERK, limit: int = 10) -> list[AnyRequest]:
        """What the log gives out of all that has been submitted."""
        return await log.take(agents, limit, NOT_AT_ALL_S)


def start_of(chain: Chain, agent: str = "clerk") -> StartRun:
    return StartRun(request_id=f"start {chain.run_id}", run_id=chain.run_id, agent=agent, input="hello")


def message_to(chain: Chain, request_id: str = "message", text: str = "more") -> SendMessage:
    return SendMessage(request_id=request_id, run_id=chain.run_id, text=text)


async def refused(log: Log, records: Sequence[Stored]) -> None:
    """The log refuses the records and stays as it was."""
    before = everything(log)
    with pytest.raises(ConcurrentAppend):
        await log.append(records)
    assert everything(log) == before


def everything(log: Log) -> list[Stored]:
    return [positioned.stored for positioned in log.read({}, 10_000)]


class AppenderAndHistoryContract(LogContract):
    async def test_what_was_appended_is_read_back_byte_for_byte(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records[:1])
        await log.append(chain.records[1:])
        assert list(log.records(chain.run_id)) == chain.records
        assert list(log.records(chain.run_id, after=1)) == chain.records[1:]
        assert list(log.records(chain.run_id, after=2)) == []

    async def test_an_unknown_run_has_no_records_and_no_head(self) -> None:
        log = self.open()
        assert list(log.records("nobody")) == []
        assert log.head("nobody") is None
        assert log.misplaced("nobody") == []

    async def test_all_runs_are_listed_in_order_those_only_requested_included(self) -> None:
        log = self.open()
        assert list(log.run_ids()) == []
        for chain in (begun("run-3"), begun("run-1")):
            await log.append(chain.records, accept=start_of(chain))
        await log.append(begun("run-4").records)
        await log.submit(start_of(Chain("run-2")))
        await log.submit(message_to(Chain("run-1")))
        assert list(log.run_ids()) == ["run-1", "run-2", "run-3", "run-4"]
        assert list(log.run_ids(since="run-3")) == ["run-3", "run-4"]
        assert list(log.run_ids(since="run-30")) == ["run-4"]

    async def test_the_head_says_where_a_run_stands(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        head = log.head(chain.run_id)
        assert head is not None
        assert (head.run_id, head.guard, head.suspended) == (chain.run_id, chain.guard, False)
        await log.append([chain.suspend()])
        suspended = log.head(chain.run_id)
        assert suspended is not None
        assert (suspended.guard, suspended.suspended) == (chain.guard, True)
        await log.append([chain.claim(), chain.complete()])
        ended = log.head(chain.run_id)
        assert ended is not None
        assert (ended.guard.ended, ended.suspended) == (True, False)

    async def test_records_written_in_their_place_are_not_misplaced(self) -> None:
        log, one, two = self.open(), begun("run-1"), begun("run-2")
        await log.append(one.records)
        await log.append(two.records)
        assert log.misplaced("run-1") == log.misplaced("run-2") == []

    async def test_what_one_process_appended_another_reads(self) -> None:
        one, two, chain = self.open(), self.open(), begun()
        await one.append(chain.records)
        assert list(two.records(chain.run_id)) == chain.records
        assert one.writer != two.writer

    async def test_what_follows_an_append_that_was_cancelled_on_its_way_is_accepted(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        for patience_s in (0.0, 0.001, 0.01, 0.03):
            cancelled = asyncio.create_task(log.append([chain.ask()]))
            await asyncio.sleep(patience_s)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            await log.append([chain.ask(2)])
            assert list(log.records(chain.run_id)) == chain.records

    async def test_a_gap_is_refused(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        chain.ask()
        await refused(log, [chain.ask(2)])

    async def test_a_run_that_does_not_begin_at_its_first_record_is_refused(self) -> None:
        log, chain = self.open(), begun()
        await refused(log, chain.records[1:])
        assert log.head(chain.run_id) is None

    async def test_a_run_that_does_not_begin_with_a_claim_is_refused(self) -> None:
        log, chain = self.open(), Chain()
        await refused(log, [chain.start()])

    async def test_a_fork_is_refused(self) -> None:
        log, chain = self.open(), begun()
        fork = chain.other()
        await log.append([*chain.records, chain.ask()])
        await refused(log, [fork.complete()])

    async def test_a_fork_further_back_is_refused(self) -> None:
        log, chain = self.open(), begun()
        fork = chain.other()
        await log.append([*chain.records, chain.ask(), chain.suspend()])
        await refused(log, [fork.complete()])

    async def test_a_record_that_continues_another_history_is_refused(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        await refused(log, [chain.next(RunCompleted(), previous="f" * 64)])

    async def test_a_record_whose_digest_is_not_that_of_its_bytes_is_refused(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        await refused(log, [chain.next(RunCompleted())._replace(digest="f" * 64)])

    async def test_a_record_of_another_run_in_the_batch_is_refused(self) -> None:
        log, one, two = self.open(), begun("run-1"), begun("run-2")
        await refused(log, [*one.records, two.records[0]])
        await refused(log, [*one.records, one.next(RunCompleted(), run_id="run-2")])

    async def test_a_duplicate_changes_nothing(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        before = everything(log)
        await log.append(chain.records)
        await log.append(chain.records[:1])
        assert everything(log) == before

    async def test_a_batch_that_overlaps_what_the_log_holds_adds_what_is_new(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        chain.ask()
        await log.append(chain.records)
        assert list(log.records(chain.run_id)) == chain.records == everything(log)

    async def test_a_duplicate_of_a_run_that_has_ended_changes_nothing(self) -> None:
        log, chain = self.open(), begun()
        chain.complete()
        await log.append(chain.records)
        await log.append(chain.records)
        assert everything(log) == chain.records

    async def test_a_batch_with_a_bad_record_in_it_leaves_nothing_behind(self) -> None:
        log, chain = self.open(), begun()
        good, bad = chain.records, chain.next(RunCompleted(), seq=7)
        await log.submit(start_of(begun("another run")))
        with pytest.raises(ConcurrentAppend):
            await log.append([*good, bad], accept=start_of(chain), finish=["start another run"])
        assert everything(log) == []
        assert log.head(chain.run_id) is None
        assert [request.run_id for request in await self.taken(log)] == ["another run"]
        with pytest.raises(RequestRefused):  # its request was not accepted either
            await log.submit(message_to(chain))

    async def test_a_zombie_is_refused_once_another_has_claimed_the_run(self) -> None:
        zombie, other, chain = self.open(), self.open(), begun(writer="zombie")
        await zombie.append(chain.records)
        late = chain.other()
        late.ask()
        await other.append([chain.claim("other")])
        await refused(zombie, late.records[-1:])
        await other.append([chain.ask()])
        late.suspend()
        await refused(zombie, late.records[-1:])
        await refused(zombie, late.records)

    async def test_a_zombie_that_numbers_on_from_the_other_ones_head_is_refused(self) -> None:
        log, chain = self.open(), begun(writer="zombie")
        chain.claim("other")
        await log.append(chain.records)
        await refused(log, [chain.next(RunCompleted(), epoch=1, writer="zombie")])
        await refused(log, [chain.next(RunCompleted(), writer="zombie")])
        await refused(log, [chain.next(RunCompleted(), epoch=1)])

    async def test_a_claim_must_have_the_next_epoch(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records)
        for epoch in (1, 3):
            await refused(log, [chain.next(RunClaimed(reason="taken_over"), epoch=epoch)])

    async def test_of_two_claims_on_one_head_the_second_has_lost_and_may_try_again(self) -> None:
        one, two, chain = self.open(), self.open(), begun()
        await one.append(chain.records)
        lost = chain.other()
        await one.append([chain.claim("one")])
        lost.claim("two")
        await refused(two, lost.records[-1:])
        await two.append([chain.claim("two"), chain.complete()])
        head = one.head(chain.run_id)
        assert head is not None
        assert (head.guard.writer, head.guard.epoch) == ("two", 3)

    async def test_of_many_processes_that_claim_a_run_at_once_one_gets_it(self) -> None:
        logs, chain = [self.open() for _ in range(4)], begun()
        await logs[0].append(chain.records)
        claims = []
        for log in logs:
            claimant = chain.other()
            claims.append(log.append([claimant.claim(log.writer)]))
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, ConcurrentAppend) for outcome in outcomes) == 3
        assert len(list(logs[0].records(chain.run_id))) == 3

    async def test_after_a_terminal_event_nothing_is_accepted(self) -> None:
        log, chain = self.open(), begun()
        chain.complete()
        await log.append(chain.records)
        await refused(log, [chain.next(RunSuspended(reason="input"))])
        await refused(log, [chain.next(RunCompleted(output="another end"))])
        await refused(log, [chain.next(RunClaimed(reason="taken_over"))])

    async def test_one_refused_run_fails_alone(self) -> None:
        log = self.open()
        chains = [begun(f"run-{n}") for n in range(20)]
        appends = [log.append(chain.records if n % 4 else chain.records[1:]) for n, chain in enumerate(chains)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None) if n % 4 else ConcurrentAppend for n in range(20)]
        assert [len(list(log.records(chain.run_id))) for chain in chains] == [2 if n % 4 else 0 for n in range(20)]


class FeedContract(LogContract):
    async def test_the_feed_gives_all_runs_in_the_order_of_their_commits(self) -> None:
        log, one, two = self.open(), begun("run-1"), begun("run-2")
        await log.append(one.records)
        await log.append(two.records)
        await log.append([one.complete()])
        found = log.read({}, 100)
        assert [positioned.stored for positioned in found] == [*one.records[:2], *two.records, one.records[2]]
        offsets = [positioned.offset for positioned in found]
        assert offsets == sorted(set(offsets))
        assert {positioned.partition for positioned in found} == {0}

    async def test_the_feed_goes_on_after_a_position_and_ends_at_the_last(self) -> None:
        log, chain = self.open(), begun()
        assert log.ends() == {0: -1}
        chain.ask()
        await log.append(chain.records)
        first, second = log.read({}, 2)
        assert first.offset < second.offset < log.ends()[0]
        (third,) = log.read({0: second.offset}, 2)
        assert third.stored == chain.records[2]
        assert third.offset == log.ends()[0]
        assert log.read({0: third.offset}, 2) == []

    async def test_the_feed_waits_for_a_record_of_this_or_another_process(self) -> None:
        log, other, chain = self.open(), self.open(), begun()
        for writing, batch in ((log, chain.records[:1]), (other, chain.records[1:])):
            position = log.ends()
            reading = asyncio.create_task(asyncio.to_thread(log.read, position, 10, SOON_S))
            await asyncio.sleep(0.02)
            assert not reading.done()
            await writing.append(batch)
            assert [positioned.stored for positioned in await reading] == batch

    def test_the_feed_gives_up_waiting_when_its_time_is_over(self) -> None:
        log, began = self.open(), time.monotonic()
        assert log.read({}, 10, 0.05) == []
        assert 0.04 <= time.monotonic() - began < 2

    async def test_a_reader_that_follows_while_others_write_sees_each_record_once(self) -> None:
        log, others = self.open(), [self.open() for _ in range(3)]
        chains = [begun(f"run-{n}") for n in range(30)]
        seen: list[Stored] = []

        def follow() -> None:
            position: dict[int, int] = {}
            while len(seen) < 60:
                for positioned in log.read(position, 7, SOON_S):
                    position[positioned.partition] = positioned.offset
                    seen.append(positioned.stored)

        reader = threading.Thread(target=follow)
        reader.start()
        await asyncio.gather(*(others[n % 3].append(chain.records) for n, chain in enumerate(chains)))
        await asyncio.to_thread(reader.join, SOON_S)
        assert sorted(seen) == sorted(stored for chain in chains for stored in chain.records)


class RequestsContract(LogContract):
    async def test_a_request_is_given_out_once(self) -> None:
        one, two, chain = self.open(), self.open(), Chain()
        await self.join(two, one)
        await one.submit(start_of(chain))
        assert await self.taken(two) == [start_of(chain)]
        assert await self.taken(two) == await self.taken(one) == []

    async def test_of_many_processes_that_take_at_once_one_gets_a_request(self) -> None:
        logs = [self.open() for _ in range(4)]
        await self.join(*logs)
        requests = [start_of(Chain(f"run-{n}")) for n in range(20)]
        for request in requests:
            await logs[0].submit(request)
        found = await asyncio.gather(*(log.take(CLERK, 7, NOT_AT_ALL_S) for log in logs))
        given = [request.run_id for batch in found for request in batch]
        assert len(given) == len(set(given))
        rest = await self.taken(logs[0], limit=100)
        assert sorted([*given, *(request.run_id for request in rest)]) == sorted(r.run_id for r in requests)

    async def test_the_same_request_again_changes_nothing(self) -> None:
        log, chain = self.open(), Chain()
        await log.submit(start_of(chain))
        await log.submit(start_of(chain))
        assert await self.taken(log) == [start_of(chain)]
        await log.finish([start_of(chain).request_id])
        await log.submit(start_of(chain))
        assert await self.taken(log) == []

    async def test_the_oldest_requests_come_first_up_to_the_limit(self) -> None:
        log = self.open()
        for n in range(5):
            await log.submit(start_of(Chain(f"run-{n}")))
        assert [request.run_id for request in await self.taken(log, limit=3)] == ["run-0", "run-1", "run-2"]
        assert [request.run_id for request in await self.taken(log, limit=3)] == ["run-3", "run-4"]

    async def test_taking_waits_for_a_request_of_this_or_another_process(self) -> None:
        log, other = self.open(), self.open()
        for submitting, run_id in ((log, "run-1"), (other, "run-2")):
            taking = asyncio.create_task(log.take(CLERK, 10, self.soon_s))
            await asyncio.sleep(0.02)
            assert not taking.done()
            await submitting.submit(start_of(Chain(run_id)))
            assert [request.run_id for request in await taking] == [run_id]

    async def test_taking_gives_up_when_its_time_is_over(self) -> None:
        began = time.monotonic()
        assert await self.open().take(CLERK, 10, 0.05) == []
        assert 0.04 <= time.monotonic() - began < 2

    async def test_a_request_given_back_is_given_out_again(self) -> None:
        one, two, chain = self.open(), self.open(), Chain()
        await self.join(one, two)
        await one.submit(start_of(chain))
        assert await self.taken(one) == [start_of(chain)]
        await one.release([start_of(chain).request_id])
        assert await self.heir(one, two).take(CLERK, 10, self.soon_s) == [start_of(chain)]

    async def test_only_who_has_taken_a_request_can_give_it_back(self) -> None:
        one, two, chain = self.open(), self.open(), Chain()
        await self.join(one, two)
        await one.submit(start_of(chain))
        assert await self.taken(one) == [start_of(chain)]
        await two.release([start_of(chain).request_id])
        assert await self.taken(two) == await self.taken(one) == []

    async def test_a_finished_request_is_never_given_out_again(self) -> None:
        one, two = self.open(), self.open()
        await self.join(one, two)
        for n in range(3):
            await one.submit(start_of(Chain(f"run-{n}")))
        await one.finish(["start run-0"])
        await one.finish(["start run-1"], refused="because")
        chain = begun("run-3")
        await one.append(chain.records, finish=["start run-2"])
        assert await self.taken(two) == await self.taken(one) == []

    async def test_requests_are_finished_without_a_record_too(self) -> None:
        log = self.open()
        await log.submit(start_of(Chain()))
        await log.append([], finish=[start_of(Chain()).request_id])
        assert await self.taken(log) == []

    async def test_a_request_accepted_with_its_records_is_taken_already(self) -> None:
        one, two, chain = self.open(), self.open(), begun()
        await self.join(two, one)
        chain.suspend()
        await one.append(chain.records, accept=start_of(chain))
        assert await self.taken(one) == await self.taken(two) == []
        await one.submit(message_to(chain))  # and it is known
        assert await self.taken(two) == [message_to(chain)]

    async def test_the_request_that_ends_a_run_can_be_accepted_in_the_same_commit(self) -> None:
        log, chain = self.open(), begun()
        await log.append(chain.records, accept=start_of(chain))
        end = EndConversation(request_id="end", run_id=chain.run_id)
        await log.append([chain.complete()], accept=end, finish=["end"])
        assert list(log.records(chain.run_id)) == chain.records

    async def test_records_whose_request_is_refused_are_not_written(self) -> None:
        log, chain = self.open(), begun()
        with pytest.raises(RequestRefused):
            await log.append(chain.records, accept=message_to(chain))
        assert everything(log) == []
        assert log.head(chain.run_id) is None

    async def test_a_request_for_a_run_that_a_living_process_holds_goes_to_that_process_only(self) -> None:
        holder, other = self.open(), self.open()
        chain = begun(writer=holder.writer)
        await holder.append(chain.records, accept=start_of(chain))
        await other.submit(CancelRun(request_id="cancel", run_id=chain.run_id))
        assert await self.taken(other) == await self.taken(other, None) == []
        assert [request.request_id for request in await self.taken(holder, None)] == ["cancel"]
        assert await self.taken(holder, None) == []

    async def test_without_agents_only_requests_for_runs_in_hand_are_given_out(self) -> None:
        log = self.open()
        await log.submit(start_of(Chain("new")))
        chain = begun("waiting", writer=log.writer)
        chain.suspend()
        await log.append(chain.records, accept=start_of(chain))
        await log.submit(message_to(chain))
        assert await self.taken(log, None) == []
        assert len(await self.taken(log)) == 2

    async def test_a_run_that_waits_is_anybodys_who_knows_its_agent(self) -> None:
        holder, other = self.open(), self.open()
        await self.join(other, holder)
        chain = begun(writer=holder.writer)
        chain.suspend()
        await holder.append(chain.records, accept=start_of(chain), finish=[start_of(chain).request_id])
        await holder.submit(message_to(chain))
        assert await self.taken(other, frozenset({"a stranger"})) == []
        assert await self.taken(other) == [message_to(chain)]

    async def test_a_new_run_is_given_out_whatever_its_agent_so_that_it_can_be_failed(self) -> None:
        log, chain = self.open(), Chain()
        await log.submit(start_of(chain, agent="nobody knows it"))
        assert len(await self.taken(log)) == 1

    async def test_a_message_to_a_run_that_has_not_begun_waits_until_it_has(self) -> None:
        log, chain = self.open(), begun()
        await log.submit(start_of(chain))
        await log.submit(message_to(chain))
        assert await self.taken(log) == [start_of(chain)]
        assert await self.taken(log) == []
        chain.suspend()
        await log.append(chain.records)
        assert await self.taken(log) == [message_to(chain)]

    async def test_a_request_for_an_unknown_run_is_refused(self) -> None:
        log, chain = self.open(), Chain()
        for request in (message_to(chain), CancelRun(request_id="cancel", run_id=chain.run_id)):
            with pytest.raises(RequestRefused, match=chain.run_id):
                await log.submit(request)
        assert await self.taken(log) == []

    async def test_a_request_for_a_run_that_has_ended_is_refused(self) -> None:
        log, chain = self.open(), begun()
        chain.complete()
        await log.append(chain.records, accept=start_of(chain))
        with pytest.raises(RequestRefused, match="has ended"):
            await log.submit(message_to(chain))

    async def test_a_request_that_was_there_when_its_run_ended_can_be_taken_and_refused(self) -> None:
        log, other, chain = self.open(), self.open(), begun()
        await self.join(other, log)
        await log.append(chain.records, accept=start_of(chain))
        await log.submit(message_to(chain))
        await log.append([chain.complete()], finish=[start_of(chain).request_id])
        assert await self.taken(other) == [message_to(chain)]
        await other.finish(["message"], refused="the run has ended")
        assert await self.taken(log) == []

    async def test_a_request_too_large_for_a_record_is_refused(self) -> None:
        log, chain = self.open(), begun()
        chain.suspend()
        await log.append(chain.records, accept=start_of(chain))
        with pytest.raises(RecordTooLarge):
            await log.submit(message_to(chain, text="x" * MAX_RECORD_BYTES))
        with pytest.raises(RecordTooLarge):
            await log.submit(start_of(Chain("another")).model_copy(update={"input": "x" * MAX_RECORD_BYTES}))
        with pytest.raises(RequestRefused):
            await log.submit(message_to(Chain("another")))

    async def test_the_runs_and_requests_of_a_dead_process_go_to_one_other(self) -> None:
        mortal, one, two = self.open_mortal(), self.open(), self.open()
        await self.join(mortal, one, two)
        chain = begun(writer=mortal.writer)
        await self.begin(mortal, chain)
        await mortal.submit(start_of(Chain("taken only")))
        assert len(await self.taken(mortal)) == 1
        await one.submit(message_to(chain))
        assert await self.taken(one) == await self.taken(two) == []
        self.die(mortal)
        given: dict[str, list[str]] = {one.writer: [], two.writer: []}
        deadline = time.monotonic() + self.soon_s
        while sum(map(len, given.values())) < 3 and time.monotonic() < deadline:
            for log in (one, two):
                given[log.writer] += [request.request_id for request in await log.take(CLERK, 10, 0.05)]
        ids = [start_of(chain).request_id, "start taken only", "message"]
        if self.silence_counts:
            ids[:2] = reversed(ids[:2])
        assert sorted(given.values()) == [[], ids]
        assert await self.taken(one) == await self.taken(two) == []

    async def test_a_process_that_dies_with_requests_it_took_over_passes_them_on(self) -> None:
        first, second, third = self.open_mortal(), self.open_mortal(), self.open()
        chain = begun(writer=first.writer)
        await self.begin(first, chain)
        self.die(first)
        assert len(await second.take(CLERK, 10, self.soon_s)) == 1
        await second.append([chain.claim(second.writer)])
        self.die(second)
        assert await third.take(CLERK, 10, self.soon_s) == [start_of(chain)]

    async def test_a_closed_log_has_let_go_of_its_requests(self) -> None:
        leaving, other = self.open(), self.open()
        chain = begun(writer=leaving.writer)
        await self.begin(leaving, chain)
        leaving.close()
        leaving.close()
        assert await other.take(CLERK, 10, self.soon_s) == [start_of(chain)]
        assert list(other.records(chain.run_id)) == chain.records

    async def test_nobody_loses_a_run_while_it_works(self) -> None:
        one, two = self.open(), self.open()
        await self.join(one, two)
        await self.begin(one, begun(writer=one.writer))
        assert await self.taken(one) == await self.taken(two) == []
        assert one.lost() == two.lost() == frozenset()


class SystemContract(LogContract):
    """What processes say of themselves."""

    async def test_what_one_process_says_the_others_hear_in_order(self) -> None:
        one, other = self.open(), self.open()
        assert other.announced(None, 10) == []
        said = [CircuitClosed(circuit=f"model:{number}") for number in range(3)]
        for event in said:
            await one.announce(event)
        heard = await asyncio.to_thread(other.announced, None, 10)
        assert [decode_system(each.stored).event for each in heard] == said
        assert [each.offset for each in heard] == [0, 1, 2]
        assert {decode_system(each.stored).envelope.writer for each in heard} == {one.writer}

    async def test_it_is_heard_from_any_place_on_and_at_its_end(self) -> None:
        log = self.open()
        for number in range(4):
            await log.announce(CircuitClosed(circuit=str(number)))

        def heard(after: int | None, limit: int) -> list[str]:
            events = [decode_system(each.stored).event for each in log.announced(after, limit)]
            return [event.circuit for event in events if isinstance(event, CircuitClosed)]

        assert await asyncio.to_thread(heard, 1, 10) == ["2", "3"]
        assert await asyncio.to_thread(heard, -1, 2) == ["0", "1"]
        assert await asyncio.to_thread(heard, None, 2) == ["2", "3"]
        assert await asyncio.to_thread(heard, 3, 10) == []

    async def test_its_records_are_a_chain(self) -> None:
        log = self.open()
        for _ in range(2):
            await log.announce(CircuitClosed(circuit="c"))
        first, second = await asyncio.to_thread(log.announced, None, 10)
        assert decode_system(second.stored).envelope.previous == first.stored.digest


class FullLogContract(AppenderAndHistoryContract, FeedContract, RequestsContract, SystemContract):
    """All of it."""
