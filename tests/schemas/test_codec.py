"""The stored form: what goes in comes out, the same bytes always, and nothing else is taken for a record."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.schemas.codec import (
    GENESIS,
    MAX_RECORD_BYTES,
    MAX_TEXT_BYTES,
    Envelope,
    Stored,
    cut_text,
    decode,
    decode_payload,
    digest_of,
    encode,
    export_line,
    import_line,
    read_envelope,
    span_id_of,
    trace_id_of,
    whole_characters,
)
from ledgent.schemas.errors import RecordTooLarge, UnknownEventType, UnreadableRecord
from ledgent.schemas.events import EVENT_CLASSES, AnyEvent, MessageReceived, RunClaimed, RunSuspended
from tests.schemas.chain import NOON, RUN, begun
from tests.schemas.strategies import TEXT, any_of, events

FEW = settings(max_examples=150, deadline=None)
PLACE = {
    "run_id": RUN,
    "seq": 7,
    "epoch": 2,
    "writer": "host/1",
    "at": NOON,
    "cause": 6,
    "trace_id": trace_id_of(RUN),
    "span_id": span_id_of(RUN),
    "previous": "a" * 64,
}


def placed(event: AnyEvent, **fields: object) -> Envelope:
    return Envelope(**{**PLACE, "type": event.type, "version": event.version, **fields})  # type: ignore[arg-type]


def stored_claim() -> Stored:
    event = RunClaimed(reason="started")
    return encode(placed(event), event)


class TestRoundTrip:
    @FEW
    @given(event=events())
    def test_every_event_comes_back_as_it_went_in(self, event: AnyEvent) -> None:
        stored = encode(placed(event), event)
        record = decode(stored)
        assert record.event == event
        assert type(record.event) is type(event)
        assert record.envelope == placed(event)
        assert record.digest == stored.digest

    @pytest.mark.parametrize("cls", EVENT_CLASSES.values(), ids=EVENT_CLASSES)
    def test_each_class_is_written_again_as_the_same_bytes(self, cls: type[AnyEvent]) -> None:
        @settings(max_examples=5, deadline=None)
        @given(event=any_of(cls))
        def same(event: AnyEvent) -> None:
            stored = encode(placed(event), event)
            record = decode(stored)
            assert encode(record.envelope, record.event) == stored

        same()

    @FEW
    @given(
        writer=TEXT,
        run_id=TEXT,
        seq=st.integers(1, 2**63 - 1),
        cause=st.none() | st.integers(1, 2**63 - 1),
        at=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    )
    def test_every_place_comes_back_as_it_went_in(
        self, writer: str, run_id: str, seq: int, cause: int | None, at: datetime
    ) -> None:
        event = RunSuspended(reason="input")
        envelope = placed(event, writer=writer, run_id=run_id, seq=seq, cause=cause, at=at.replace(tzinfo=UTC))
        assert read_envelope(encode(envelope, event).body) == envelope

    def test_a_record_is_one_json_object_with_the_payload_last(self) -> None:
        fields = json.loads(stored_claim().body)
        assert list(fields) == [
            "run_id",
            "seq",
            "epoch",
            "writer",
            "at",
            "cause",
            "trace_id",
            "span_id",
            "type",
            "version",
            "previous",
            "event",
        ]
        assert fields["at"] == "2026-01-02T12:00:00Z"
        assert fields["event"] == {"type": "run.claimed", "reason": "started"}

    def test_microseconds_are_kept(self) -> None:
        event = RunClaimed(reason="started")
        at = NOON.replace(microsecond=123456)
        assert read_envelope(encode(placed(event, at=at), event).body).at == at

    def test_the_digest_is_over_the_one_before_and_the_stored_bytes(self) -> None:
        stored = stored_claim()
        assert stored.digest == hashlib.sha256(b"a" * 64 + stored.body).hexdigest()
        assert stored.digest == digest_of("a" * 64, stored.body)

    def test_a_record_just_small_enough_is_taken_and_a_larger_one_refused(self) -> None:
        event = MessageReceived(request_id="1", text="")
        room = MAX_RECORD_BYTES - len(encode(placed(event), event).body)
        fitting = MessageReceived(request_id="1", text="x" * room)
        assert len(encode(placed(fitting), fitting).body) == MAX_RECORD_BYTES
        with pytest.raises(RecordTooLarge, match=r"900,001 bytes.*by reference"):
            encode(placed(fitting), MessageReceived(request_id="1", text="x" * (room + 1)))


class TestForeignBytes:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"null",
            b"[]",
            b"\xff\xfe\x00",
            b'{"event":{}}',
            b'[1,"event":{}]',
            b'{"run_id":"r","event":{"type":"run.claimed"}}',
            b"\x00" * 1000,
        ],
    )
    def test_bytes_that_are_no_record_are_unreadable(self, body: bytes) -> None:
        with pytest.raises(UnreadableRecord):
            read_envelope(body)
        with pytest.raises(UnreadableRecord):
            decode(Stored(body, GENESIS))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"seq":7', b'"seq":"7"'),
            (b'"seq":7', b'"seq":7.5'),
            (b'"seq":7', b'"seq":-7'),
            (b'"seq":7', b'"seq":0'),
            (b'"seq":7', b'"seq":99999999999999999999'),
            (b'"seq":7', b'"sequence":7'),
            (b'"seq":7,', b""),
            (b'"seq":7', b'"seq":7,"more":1'),
            (b'"epoch":2', b'"epoch":true'),
            (b'"run_id":"', b'"run_id":1,"x":"'),
            (b'"writer":"host/1"', b'"writer":null'),
            (b"2026-01-02T12:00:00Z", b"2026-01-02T12:00:00"),
            (b"2026-01-02T12:00:00Z", b"yesterday"),
            (b'"cause":6', b'"cause":"6"'),
            (b'"version":1', b'"version":0'),
            (b'"version":1', b'"version":-1'),
            (b'"reason":"started"', b'"reason":"bored"'),
            (b'"reason":"started"', b'"reason":"started","more":1'),
            (b'{"type":"run.claimed","reason":"started"}', b"null"),
            (b'{"type":"run.claimed","reason":"started"}', b'{"type":"run.started"}'),
            (b'"started"}}', b'"started"}'),
            (b'"started"}}', b'"started"}]'),
            (b'"started"}}', b'"started"}},'),
            (b'"started"}}', b'"started"}}}'),
        ],
    )
    def test_a_record_with_one_thing_wrong_is_unreadable(self, old: bytes, new: bytes) -> None:
        body = stored_claim().body
        assert body.count(old) == 1
        with pytest.raises(UnreadableRecord):
            decode(Stored(body.replace(old, new), GENESIS))

    def test_any_byte_changed_leaves_a_record_or_one_clear_error(self) -> None:
        whole = begun().records[1].body
        for place in range(len(whole)):
            for bit in (1, 32, 128):
                body = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
                try:
                    decode(Stored(body, GENESIS))
                except (UnreadableRecord, UnknownEventType):
                    pass

    @FEW
    @given(body=st.binary(max_size=300))
    def test_any_bytes_at_all_are_one_clear_error(self, body: bytes) -> None:
        with pytest.raises(UnreadableRecord):
            decode(Stored(body, GENESIS))

    def test_an_unknown_type_says_that_the_log_is_newer(self) -> None:
        body = stored_claim().body.replace(b"run.claimed", b"run.dreamed")
        with pytest.raises(UnknownEventType, match=r"'run\.dreamed' version 1 is unknown.*newer.*pip install -U"):
            decode(Stored(body, GENESIS))
        assert read_envelope(body).type == "run.dreamed"  # it still advances its run

    def test_a_newer_version_of_a_known_type_says_so_too(self) -> None:
        body = stored_claim().body.replace(b'"version":1', b'"version":2')
        with pytest.raises(UnknownEventType, match=r"'run\.claimed' version 2"):
            decode(Stored(body, GENESIS))

    def test_a_payload_alone_is_read_by_type_and_version(self) -> None:
        payload = b'{"type":"run.claimed","reason":"started"}'
        assert decode_payload("run.claimed", 1, payload) == RunClaimed(reason="started")
        with pytest.raises(UnreadableRecord, match=r"run\.claimed"):
            decode_payload("run.claimed", 1, b"{")


class TestCutting:
    @pytest.mark.parametrize("text", ["", "short", "x" * MAX_TEXT_BYTES, "ü😀" * 1000])
    def test_a_text_that_fits_stays_as_it_is(self, text: str) -> None:
        fits = text[: MAX_TEXT_BYTES - 2]
        assert cut_text(fits) == (fits, None)

    @pytest.mark.parametrize(
        "piece", ["x", '"', "\\", "\x00", "\x7f", "\n", "ü", "€", "😀", "\u2028", 'x\x00ü😀"', "\ud800"]
    )
    def test_a_longer_one_is_cut_to_size_and_says_what_it_was(self, piece: str) -> None:
        whole = piece * (MAX_TEXT_BYTES // len(piece) + 1)
        kept, cut = cut_text(whole)
        stored = whole.encode(errors="replace")
        if len(json.dumps(stored.decode(), ensure_ascii=False).encode()) > MAX_TEXT_BYTES:
            assert cut is not None
            assert (cut.size, cut.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
            text, _, note = kept.rpartition("\n[cut: ")
            assert stored.decode().startswith(text)
            assert note == f"{len(text):,} of {len(whole):,} characters]"
        event = MessageReceived(request_id="1", text=kept)
        size = len(encode(placed(event), event).body)
        assert MAX_TEXT_BYTES * 0.8 < size < MAX_TEXT_BYTES + 1_000

    @FEW
    @given(text=st.text(alphabet=st.characters(), max_size=60), limit=st.integers(10, 80))
    def test_whatever_it_is_it_fits_and_can_be_stored(self, text: str, limit: int) -> None:
        kept, cut = cut_text(text, limit)
        kept.encode()
        if cut is None:
            assert kept == whole_characters(text)
        assert len(json.dumps(kept.partition("\n[cut: ")[0], ensure_ascii=False).encode()) <= max(limit, 10)

    def test_half_a_character_becomes_a_question_mark(self) -> None:
        assert cut_text("a\ud800b\udfff") == ("a?b?", None)
        assert whole_characters("ü\ud83d") == "ü?"

    def test_a_cut_text_is_not_cut_again(self) -> None:
        kept, _ = cut_text("x" * MAX_TEXT_BYTES * 2)
        assert len(cut_text(kept)[0]) <= len(kept) + 100


class TestExport:
    @FEW
    @given(event=events())
    def test_a_line_comes_back_byte_for_byte(self, event: AnyEvent) -> None:
        stored = encode(placed(event), event)
        line = export_line(stored)
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        assert json.loads(line)["digest"] == stored.digest
        assert import_line(line) == stored
        assert import_line(line.rstrip(b"\n")) == stored

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"\n",
            b"{}",
            b'{"digest":"short"}',
            b'{"a":1,"digest":"' + b"z" * 64 + b'"}',
            b'{"a":1,"digest":"' + b"\xff" * 64 + b'"}',
            b'{"a":1,"digest":"' + b"a" * 64 + b'"]',
            b'{"a":1,"digest":"' + b"a" * 65 + b'"}',
        ],
    )
    def test_a_line_that_no_export_wrote_is_refused(self, line: bytes) -> None:
        with pytest.raises(UnreadableRecord, match="exported"):
            import_line(line)


class TestIds:
    def test_the_trace_of_a_run_is_its_own_digits(self) -> None:
        assert trace_id_of(RUN) == RUN.replace("-", "")

    def test_a_run_whose_id_is_no_uuid_has_a_trace_too(self) -> None:
        assert len(trace_id_of("run-1")) == 32
        assert int(trace_id_of("run-1"), 16)
        assert trace_id_of("run-1") != trace_id_of("run-2")

    def test_spans_depend_on_run_call_and_attempt_only(self) -> None:
        spans = [span_id_of("r"), span_id_of("r", "m1", 1), span_id_of("r", "m1", 2), span_id_of("s", "m1", 1)]
        assert len(set(spans)) == 4
        assert all(len(span) == 16 and int(span, 16) for span in spans)
        assert span_id_of("r", "m1", 1) == spans[1]
