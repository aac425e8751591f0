"""Verification: a whole run gets its certificate; one byte elsewhere, and the exact record is named."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, RetryPolicy, ScriptedModel, ToolError, tool, when
from ledgent.agent.divergence import Certificate, code_version
from ledgent.agent.verify import verify
from ledgent.agent.worker import Worker
from ledgent.producers.memory import MemoryLog
from ledgent.producers.sqlite import SqliteLog
from ledgent.producers.submit import send_message
from ledgent.schemas.codec import Stored, decode, digest_of, encode, read_envelope
from ledgent.schemas.errors import LedgentError, UnknownRun
from ledgent.schemas.events import (
    AnyEvent,
    ModelCallStarted,
    RetryScheduled,
    RunCompleted,
    RunStarted,
    ToolCallCompleted,
    ToolCallRejected,
    ToolCallStarted,
)
from tests.agent import predicates
from tests.agent.recorded import only, records_of, state_of, until
from tests.schemas.chain import Chain, begun


@tool
async def look(what: str) -> str:
    """Looks."""
    return f"{what}: nothing"


@tool
async def fail() -> str:
    """Fails."""
    raise ToolError("no")


def busy_agent() -> Agent:
    """A run of it has nearly every kind of event."""
    model = ScriptedModel(
        [
            Attempts(Fail("rate_limited"), [Call("look", what="a"), Call("fail"), Call("luck"), Call("look")]),
            Reply("hm", [Call("look", what="b")]),
            "done",
        ],
        retry=RetryPolicy(first_s=0.001),
    )
    return Agent("busy", model, "Be quick.", tools=[look, fail])


class TestCertificates:
    async def test_a_whole_run_is_verified_to_its_end(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        certificate = verify(log, result.run_id)
        head = log.head(result.run_id)
        assert head is not None
        intents = [
            record
            for record in records_of(log, result.run_id)
            if isinstance(
                record.event, ModelCallStarted | ToolCallStarted | ToolCallRejected | RetryScheduled | RunCompleted
            )
        ]
        assert certificate == Certificate(
            run_id=result.run_id,
            verdict="verified",
            records=head.guard.seq,
            head_digest=head.guard.digest,
            complete=True,
            decisions=len(intents),
        )
        assert certificate.ok

    async def test_a_run_still_at_work_is_verified_as_far_as_it_is(self, log: MemoryLog) -> None:
        task = asyncio.create_task(Agent("slow", ScriptedModel(["late"], delay_s=30)).run("go", log=log))
        await until(lambda: log.ends()[0] >= 2)
        (run_id,) = log.run_ids()
        assert verify(log, run_id).ok
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_a_run_that_goes_on_while_it_is_verified_is_not_called_broken(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)

        class MovingLog(MemoryLog):
            """Its head is read before the run's last records are written."""

            heads = 0

            def head(self, run_id):  # type: ignore[no-untyped-def]
                head = super().head(run_id)
                self.heads += 1
                if head is None or self.heads > 1:
                    return head
                early = list(self.records(run_id))[-4]
                guard = head.guard._replace(seq=read_envelope(early.body).seq, digest=early.digest, ended=False)
                return head._replace(guard=guard)

        assert verify(MovingLog(log.storage), result.run_id).ok

    def test_an_unknown_run_is_said_to_be_unknown(self, log: MemoryLog) -> None:
        with pytest.raises(UnknownRun, match="nobody"):
            verify(log, "nobody")

    async def test_nothing_is_called(self, log: MemoryLog) -> None:
        called = []

        @tool
        async def count() -> str:
            called.append(1)
            return ""

        agent = Agent("a", ScriptedModel([Call("count"), "done"]), tools=[count])
        result = await agent.run("go", log=log)
        assert called == [1]
        assert verify(log, result.run_id).ok
        assert called == [1]


async def rewritten(original: MemoryLog, run_id: str, *, seq: int, event: AnyEvent, **envelope: object) -> MemoryLog:
    """A log whose record `seq` says something else, in a chain that is whole all the same."""
    chain = Chain(run_id)
    for record in records_of(original, run_id):
        place = record.envelope
        fields = {name: getattr(place, name) for name in ("seq", "epoch", "writer", "at", "cause", "span_id")}
        if place.seq == seq:
            fields |= envelope
        stored = chain.next(event if place.seq == seq else record.event, **fields)
        chain.records.append(stored)
        chain.guard = chain.guard._replace(digest=stored.digest, seq=place.seq)
    log = MemoryLog()
    await log.append(chain.records)
    return log


class TestDivergence:
    async def divergence(self, log: MemoryLog, cls: type[AnyEvent], changes: dict[str, object]) -> tuple[int, str]:
        """Where and why a run diverges whose first event of the class was another."""
        result = await busy_agent().run("go", log=log)
        record = next(record for record in records_of(log, result.run_id) if isinstance(record.event, cls))
        event = record.event.model_copy(update=changes)
        certificate = verify(await rewritten(log, result.run_id, seq=record.seq, event=event), result.run_id)
        assert (certificate.verdict, certificate.ok, certificate.complete) == ("diverged", False, False)
        assert certificate.seq is not None
        assert certificate.records == certificate.seq - 1
        return certificate.seq - record.seq, certificate.reason or ""

    @pytest.mark.parametrize(
        ("cls", "changes"),
        [
            (ModelCallStarted, {"request_digest": "f" * 64}),
            (ModelCallStarted, {"call_id": "m7"}),
            (ModelCallStarted, {"model": "another"}),
            (ModelCallStarted, {"provider": "another"}),
            (ModelCallStarted, {"attempt": 2}),
            (RetryScheduled, {"delay_s": 99.0}),
            (RetryScheduled, {"attempt": 3}),
            (ToolCallStarted, {"arguments": '{"what":"z"}'}),
            (ToolCallStarted, {"name": "fail"}),
            (ToolCallStarted, {"idempotency_key": "another"}),
            (ToolCallRejected, {"suggestions": ()}),
            (ToolCallRejected, {"message": "another"}),
            (RunCompleted, {"output": "another"}),
        ],
    )
    async def test_an_intent_that_this_code_would_not_have_is_named(
        self, log: MemoryLog, cls: type[AnyEvent], changes: dict[str, object]
    ) -> None:
        distance, reason = await self.divergence(log, cls, changes)
        assert distance == 0
        (field,) = changes
        assert field in reason

    async def test_instructions_edited_in_the_record_show_at_the_first_request(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        started = only(log, result.run_id, RunStarted)
        other = started.model_copy(update={"agent": started.agent.model_copy(update={"instructions": "Be slow."})})
        certificate = verify(await rewritten(log, result.run_id, seq=2, event=other), result.run_id)
        assert (certificate.verdict, certificate.seq) == ("diverged", 3)
        assert "request_digest" in (certificate.reason or "")

    async def test_an_answer_edited_in_the_record_shows_at_what_follows_from_it(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        record = next(r for r in records_of(log, result.run_id) if r.event.type == "tool_call.completed")
        event = record.event.model_copy(update={"result": "everything"})
        certificate = verify(await rewritten(log, result.run_id, seq=record.seq, event=event), result.run_id)
        assert certificate.verdict == "diverged"
        asked_again = next(
            r for r in records_of(log, result.run_id) if r.event.type == "model_call.started" and r.seq > record.seq
        )
        assert certificate.seq == asked_again.seq

    async def test_a_cause_that_is_not_the_cause_is_named(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        record = records_of(log, result.run_id)[-1]
        other = await rewritten(log, result.run_id, seq=record.seq, event=record.event, cause=1)
        certificate = verify(other, result.run_id)
        assert (certificate.verdict, certificate.seq) == ("diverged", record.seq)
        assert "cause" in (certificate.reason or "")

    async def test_an_intent_where_nothing_is_to_be_decided_is_named(self) -> None:
        chain = begun()
        chain.add(ToolCallStarted(call_id="m1.t0", name="pay", arguments="{}", idempotency_key="k"), cause=2)
        certificate = await self.verified(chain)
        assert (certificate.verdict, certificate.seq) == ("diverged", 3)

    async def test_an_end_before_its_time_is_named(self) -> None:
        chain = begun()
        chain.complete()
        certificate = await self.verified(chain)
        assert (certificate.verdict, certificate.seq) == ("diverged", 3)
        assert "run.completed" in (certificate.reason or "")

    async def test_outcomes_without_a_hand_over_do_not_hide_a_skipped_intent(self, log: MemoryLog) -> None:
        """Outcomes may stand without the intents that follow only where a run was handed over."""
        result = await Agent("a", ScriptedModel([[Call("look", what="a")] * 2, "done"]), tools=[look]).run(
            "go", log=log
        )
        chain = Chain(result.run_id)
        skipped = False
        for record in records_of(log, result.run_id):
            if record.event.type == "model_call.started" and record.seq > 3:
                skipped = True
                continue
            shift = int(skipped)
            fields = {name: getattr(record.envelope, name) for name in ("epoch", "writer", "at", "span_id")}
            stored = chain.next(record.event, cause=(record.envelope.cause or 1) - shift, **fields)
            chain.records.append(stored)
            chain.guard = chain.guard._replace(
                digest=stored.digest, seq=chain.guard.seq + 1, epoch=record.envelope.epoch
            )
        certificate = await self.verified(chain)
        assert certificate.verdict == "diverged"

    async def test_an_outcome_of_no_call_is_broken(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        record = next(r for r in records_of(log, result.run_id) if isinstance(r.event, ToolCallCompleted))
        event = record.event.model_copy(update={"call_id": "m9.t9"})
        certificate = verify(await rewritten(log, result.run_id, seq=record.seq, event=event), result.run_id)
        assert (certificate.verdict, certificate.seq) == ("broken", record.seq)
        assert "does not follow" in (certificate.reason or "")

    async def verified(self, chain: Chain) -> Certificate:
        log = MemoryLog()
        await log.append(chain.records)
        return verify(log, chain.run_id)


class TestCauses:
    """What lies behind a divergence, as far as it can be known."""

    async def test_a_predicate_that_reads_the_clock_is_found_by_deciding_twice(self) -> None:
        log = MemoryLog()
        agent = Agent("timed", ScriptedModel(["done"]), terminators=[when(predicates.at_the_time)])
        result = await agent.run("go", log=log)
        certificate = verify(log, result.run_id)
        assert (certificate.verdict, certificate.seq, certificate.cause) == ("diverged", 5, "nondeterministic")
        assert certificate.field == "run.completed.reason"
        assert certificate.recorded != certificate.decided
        assert "decided twice" in (certificate.reason or "")

    async def test_one_whose_clock_stands_still_meanwhile_is_found_by_what_it_names(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = MemoryLog()
        agent = Agent("timed", ScriptedModel(["done"]), terminators=[when(predicates.this_year)])
        result = await agent.run("go", log=log)
        assert verify(log, result.run_id).ok
        monkeypatch.setattr(predicates, "LATER", "not this")
        certificate = verify(log, result.run_id)
        assert (certificate.field, certificate.cause) == ("run.completed.reason", "nondeterministic")
        assert "tests.agent.predicates:this_year uses time" in (certificate.reason or "")

    async def test_instructions_that_differ_by_a_character_are_shown(self, log: MemoryLog) -> None:
        agent = busy_agent()
        result = await agent.run("go", log=log)
        assert verify(log, result.run_id, agent.spec).ok
        today = agent.but(instructions="Be quack.")
        certificate = verify(log, result.run_id, today.spec)
        assert (certificate.verdict, certificate.seq, certificate.cause) == ("diverged", 3, "agent_changed")
        assert certificate.field == "model_call.started.request_digest"
        assert "instructions differs at character 6: 'Be quick.' -> 'Be quack.'" in (certificate.reason or "")

    async def test_a_tool_described_otherwise_and_a_lower_limit_are_named(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        spec = busy_agent().spec
        first = spec.tools[0].model_copy(update={"description": "Looks up."})
        certificate = verify(log, result.run_id, spec.model_copy(update={"tools": (first, *spec.tools[1:])}))
        assert "tools.look.description differs at character 6" in (certificate.reason or "")
        certificate = verify(log, result.run_id, busy_agent().but(limits=Limits(steps=1)).spec)
        assert (certificate.verdict, certificate.cause) == ("diverged", "agent_changed")
        assert "limits.steps: 50 -> 1" in (certificate.reason or "")
        assert "RunLimited" in (certificate.decided or "")

    async def test_limits_that_a_run_set_for_itself_stay(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log, limits=Limits(steps=7))
        assert verify(log, result.run_id, busy_agent().but(limits=Limits(steps=1)).spec).ok

    async def test_a_start_rewritten_in_the_log_is_told_from_a_changed_agent(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        started = only(log, result.run_id, RunStarted)
        other = started.model_copy(update={"agent": started.agent.model_copy(update={"instructions": "Be quack."})})
        forged = await rewritten(log, result.run_id, seq=2, event=other)
        certificate = verify(forged, result.run_id)
        assert (certificate.seq, certificate.cause) == (3, "log_changed")
        assert "instructions, tools, parameters or first message in record 2" in (certificate.reason or "")
        assert verify(forged, result.run_id, busy_agent().spec).ok

    async def test_an_answer_rewritten_in_the_log_lies_after_the_last_request_that_is_right(
        self, log: MemoryLog
    ) -> None:
        result = await busy_agent().run("go", log=log)
        record = next(r for r in records_of(log, result.run_id) if r.event.type == "tool_call.completed")
        event = record.event.model_copy(update={"result": "everything"})
        certificate = verify(await rewritten(log, result.run_id, seq=record.seq, event=event), result.run_id)
        assert certificate.cause == "log_changed"
        before = [r.seq for r in records_of(log, result.run_id) if r.event.type == "model_call.started"]
        proven = max(seq for seq in before if seq < record.seq)
        assert f"the request of record {proven} is as recorded" in (certificate.reason or "")

    async def test_what_nothing_else_explains_is_other_code(self, log: MemoryLog) -> None:
        result = await busy_agent().run("go", log=log)
        record = records_of(log, result.run_id)[-1]
        event = record.event.model_copy(update={"output": "another"})
        certificate = verify(await rewritten(log, result.run_id, seq=record.seq, event=event), result.run_id)
        assert (certificate.field, certificate.cause) == ("run.completed.output", "code_changed")
        assert (certificate.recorded, certificate.decided) == ("another", "done")
        assert code_version() in (certificate.reason or "")


COLUMNS = ("position", "run_key", "seq", "body", "digest")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a conversation that was handed over, between two other runs."""
    path = tmp_path_factory.mktemp("whole") / "log.db"

    async def fill() -> None:
        log = SqliteLog(path)
        await Agent("first", ScriptedModel(["hi"])).run("hello", log=log)
        await busy_agent().run("go", log=log)
        await Agent("last", ScriptedModel(["hi"])).run("hello", log=log)
        for run_id in log.run_ids():
            assert verify(log, run_id).ok
        log.close()

    asyncio.run(fill())
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path


class Tampered:
    """A log whose file is changed for a moment, from beside."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.log = SqliteLog(path)
        self.run_id = next(run for run in self.log.run_ids() if state_of(self.log, run).agent.name == "busy")  # type: ignore[union-attr]
        self.rows: list[tuple[object, ...]] = self.db.execute(
            "SELECT * FROM records WHERE run_key = (SELECT run_key FROM runs WHERE run_id = ?) ORDER BY seq",
            (self.run_id,),
        ).fetchall()

    def after(self, statement: str, *values: object) -> Certificate | None:
        """What verification finds once this is done to the file; None when the database itself does not allow it."""
        self.db.execute("BEGIN")
        try:
            self.db.execute(statement, values)
            self.db.execute("COMMIT")
        except sqlite3.IntegrityError:
            self.db.execute("ROLLBACK")
            return None
        certificate = verify(self.log, self.run_id)
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM records WHERE run_key = ?", (self.rows[0][1],))
        for row in self.rows:
            self.db.execute("DELETE FROM records WHERE position = ?", (row[0],))
        self.db.execute("DELETE FROM records WHERE run_key NOT IN (SELECT run_key FROM runs)")
        self.db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", self.rows)
        self.db.execute("COMMIT")
        return certificate

    def close(self) -> None:
        self.log.close()
        self.db.close()


@pytest.fixture
def tampered(file: Path, tmp_path: Path) -> Iterator[Tampered]:
    copy = tmp_path / "log.db"
    copy.write_bytes(file.read_bytes())
    made = Tampered(copy)
    yield made
    assert verify(made.log, made.run_id).ok, "a test did not put the file back as it was"
    made.close()


class TestTampering:
    def test_any_byte_of_any_body_changed_is_found_and_its_record_named(self, tampered: Tampered) -> None:
        for seq, row in enumerate(tampered.rows, 1):
            body = bytes(row[3])  # type: ignore[call-overload]
            for place in sorted(
                {0, 1, len(body) // 3, len(body) // 2, len(body) - 2, len(body) - 1, *range(5, len(body), 211)}
            ):
                changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
                self.named(tampered.after("UPDATE records SET body = ? WHERE position = ?", changed, row[0]), seq)

    def test_any_character_of_any_digest_changed_is_found_and_its_record_named(self, tampered: Tampered) -> None:
        for seq, row in enumerate(tampered.rows, 1):
            digest = str(row[4])
            for place in (0, 31, 63):
                other = "0" if digest[place] != "0" else "1"
                changed = digest[:place] + other + digest[place + 1 :]
                self.named(tampered.after("UPDATE records SET digest = ? WHERE position = ?", changed, row[0]), seq)

    def test_a_digest_that_is_no_text_any_more_is_named(self, tampered: Tampered) -> None:
        for seq, row in enumerate(tampered.rows, 1):
            digest = str(row[4]).encode()
            damaged = digest[:7] + bytes([digest[7] ^ 0x80]) + digest[8:]
            self.named(
                tampered.after("UPDATE records SET digest = CAST(? AS TEXT) WHERE position = ?", damaged, row[0]), seq
            )

    @pytest.mark.parametrize("column", ["position", "run_key", "seq"])
    def test_any_bit_of_any_number_changed_is_found_and_its_record_named(self, tampered: Tampered, column: str) -> None:
        found = 0
        for seq, row in enumerate(tampered.rows, 1):
            number = row[COLUMNS.index(column)]
            assert isinstance(number, int)
            for bit in (0, 1, 2, 3, 5, 8, 20, 40, 62):
                changed = number ^ (1 << bit)
                certificate = tampered.after(f"UPDATE records SET {column} = ? WHERE position = ?", changed, row[0])
                if certificate is not None:
                    self.named(certificate, seq)
                    found += 1
            negative = tampered.after(f"UPDATE records SET {column} = ? WHERE position = ?", -number, row[0])
            self.named(negative, seq)
        assert found > 4 * len(tampered.rows)

    @pytest.mark.parametrize("column", ["body", "digest"])
    def test_a_value_of_another_type_is_found(self, tampered: Tampered, column: str) -> None:
        for seq, row in enumerate(tampered.rows, 1):
            for value in ("", b"", 7, str(row[3]), b"\xff"):
                certificate = tampered.after(f"UPDATE records SET {column} = ? WHERE position = ?", value, row[0])
                self.named(certificate, seq)

    def test_each_deleted_record_is_named(self, tampered: Tampered) -> None:
        for seq, row in enumerate(tampered.rows, 1):
            certificate = tampered.after("DELETE FROM records WHERE position = ?", row[0])
            self.named(certificate, seq)
        certificate = tampered.after("DELETE FROM records WHERE position >= ?", tampered.rows[-3][0])
        self.named(certificate, len(tampered.rows) - 2)
        assert certificate is not None
        assert "missing" in (certificate.reason or "")

    def test_records_that_changed_places_are_named(self, tampered: Tampered) -> None:
        one, two = tampered.rows[3], tampered.rows[5]
        swap = "UPDATE records SET body = CASE position WHEN ? THEN ? ELSE ? END WHERE position IN (?, ?)"
        self.named(tampered.after(swap, one[0], two[3], one[3], one[0], two[0]), 4)

    def test_a_record_added_behind_the_end_is_named(self, tampered: Tampered) -> None:
        last = decode(Stored(*tampered.rows[-1][3:]))  # type: ignore[arg-type]
        more = encode(last.envelope, last.event)
        certificate = tampered.after(
            "INSERT INTO records (run_key, seq, body, digest) VALUES (?, ?, ?, ?)",
            tampered.rows[0][1],
            len(tampered.rows) + 1,
            more.body,
            digest_of(last.digest, more.body),
        )
        self.named(certificate, len(tampered.rows) + 1)

    def test_a_record_missing_from_one_run_does_not_put_another_in_doubt(self, tampered: Tampered) -> None:
        others = [run_id for run_id in tampered.log.run_ids() if run_id != tampered.run_id]
        for row in (tampered.rows[0], tampered.rows[4], tampered.rows[-1]):
            tampered.db.execute("DELETE FROM records WHERE position = ?", (row[0],))
            assert [verify(tampered.log, run_id).ok for run_id in others] == [True, True]
            assert not verify(tampered.log, tampered.run_id).ok
            tampered.db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", row)

    @pytest.mark.parametrize("column", ["epoch", "writer", "seq", "digest", "ended"])
    def test_a_changed_head_is_found(self, tampered: Tampered, column: str) -> None:
        (value,) = tampered.db.execute(f"SELECT {column} FROM runs WHERE run_id = ?", (tampered.run_id,)).fetchone()
        changed = value + "x" if isinstance(value, str) else value ^ 1
        tampered.db.execute(f"UPDATE runs SET {column} = ? WHERE run_id = ?", (changed, tampered.run_id))
        certificate = verify(tampered.log, tampered.run_id)
        assert certificate.verdict == "broken"
        assert certificate.seq is not None
        assert abs(certificate.seq - len(tampered.rows)) <= 1
        tampered.db.execute(f"UPDATE runs SET {column} = ? WHERE run_id = ?", (value, tampered.run_id))

    def named(self, certificate: Certificate | None, seq: int) -> None:
        assert certificate is not None, "the database did not allow the change"
        assert (certificate.verdict, certificate.seq) == ("broken", seq), certificate
        assert certificate.reason
        assert certificate.records == seq - 1


async def test_a_broken_run_is_refused_by_a_worker_as_verification_says(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    agent = Agent("talker", ScriptedModel(["hi"]), conversational=True)
    result = await agent.run("hello", log=log)
    db = sqlite3.connect(tmp_path / "log.db")
    db.execute("UPDATE records SET body = replace(body, 'hello', 'hallo') WHERE seq = 2")
    db.commit()
    db.close()
    await send_message(log, result.run_id, "again")
    await Worker(log, {"talker": agent}).work(until_idle=True)
    assert verify(log, result.run_id).seq == 2
    with pytest.raises(LedgentError):
        state_of(log, result.run_id)
    log.close()
