"""An export's lines: runs one after the other, each with its head, the list of all heads last. Pure: no I/O, no clock.

A record's line is its stored bytes with the digest as the last field (codec.py). A head says how many records its run
has and what the last one's digest is, and the list at the end says which runs there are: so nothing can be taken away
without a trace, a tail included. Heads that were written down elsewhere, anchors, show a chain that was made anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import orjson

from ledgent.schemas.acceptance import ACCEPTED, Guard, advance, judge
from ledgent.schemas.codec import EVENT_MARK, GENESIS, Envelope, Stored, digest_of, import_line, read_envelope
from ledgent.schemas.errors import UnreadableRecord

T = TypeVar("T")


class ExportHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run stands at the end of its records, as a line of an export says it."""

    run_id: str
    seq: int
    digest: str


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    heads: list[ExportHead]


class Fault(NamedTuple):
    """A place where an export is not what was written."""

    line: int
    """From 1."""
    run_id: str | None
    seq: int | None
    """Of the record that should stand there; None where that is a head, or the list of heads."""
    reason: str

    def __str__(self) -> str:
        what = f"record {self.seq} of run {self.run_id}" if self.seq else f"the head of run {self.run_id}"
        return f"line {self.line}: {what if self.run_id else 'the list of heads'}: {self.reason}"


Anchors = Mapping[str, Mapping[int, str]]
"""By run id and seq the digests that records were known to have."""


def head_line(head: ExportHead) -> bytes:
    """A run's head, as it stands after its records."""
    return msgspec.json.encode(head) + b"\n"


def heads_line(heads: Iterable[ExportHead]) -> bytes:
    """The list that ends an export."""
    return msgspec.json.encode(_List(list(heads))) + b"\n"


class ExportCheck:
    """Takes an export line by line, and says where it is not what was written.

    `listed`: by `listed_in`, where all lines are at hand: it names a run whose first line is gone.
    """

    def __init__(self, listed: Sequence[ExportHead] = (), anchors: Anchors | None = None) -> None:
        self.heads: list[ExportHead] = []
        """Of the runs that are whole."""
        self.faults: list[Fault] = []
        self.records = 0
        """Found good."""
        self.anchored: set[tuple[str, int]] = set()
        """Run and seq of the anchored records that are as they were."""
        self._anchors = anchors or {}
        self._listed = [head.run_id for head in listed]
        self._last: str | None = None
        """The last run that has begun, or whose head was read."""
        self._line = 0
        self._run_id: str | None = None
        self._guard = Guard()
        self._lost = False
        """A fault was found in this run: nothing is known of its next records."""
        self._nameless: int | None = None
        """The index of the fault whose run is named by a later line."""
        self._seen: set[str] = set()
        self._ended = False

    def add(self, line: bytes) -> Stored | None:
        """Takes the next line in; the record, where it is one and is good."""
        self._line += 1
        if self._ended:
            self._fault("this line stands after the list of heads", of_list=True)
            return None
        if line.startswith(b'{"heads":'):
            self._end(line)
            return None
        head = _read(line, _read_head)
        if head is not None:
            self._name(head.run_id)
            if not self._lost:
                self._close(head, line)
            self._last = head.run_id
            self._begin()
            return None
        return self._record(line)

    def finish(self) -> None:
        """No line follows."""
        self._line += 1
        if self._nameless is not None:  # no run's line followed it
            self.faults[self._nameless] = self.faults[self._nameless]._replace(seq=None)
        if not self._ended and (self._run_id is None or not self._lost):
            of_list = self._run_id is None
            self._fault("the file ends here, without the list of its heads: its tail is missing", of_list=of_list)

    def miss(self, run_id: str, seq: int) -> None:
        """An anchored record was not there."""
        self.faults.append(Fault(self._line, run_id, seq, "it is missing: its digest was anchored"))

    def _record(self, line: bytes) -> Stored | None:
        try:
            stored = import_line(line)
            envelope = read_envelope(stored.body)
            if line[-1:] != b"\n":
                raise UnreadableRecord("the line is cut off")
        except UnreadableRecord as error:
            self._bad(None, str(error))
            return None
        self._name(envelope.run_id)
        if envelope.seq == 1 and envelope.run_id != self._run_id and stored.digest == digest_of(GENESIS, stored.body):
            if self._run_id is not None and not self._lost:
                self._bad(self._run_id, f"run {envelope.run_id} begins in its place")
            self._begin()
            due = self._due()
            if due not in (None, envelope.run_id):
                self.faults.append(Fault(self._line, due, 1, f"run {envelope.run_id} begins in its place"))
        if self._lost:
            return None
        if reason := self._wrong(envelope, stored):
            self._bad(envelope.run_id, reason)
            return None
        self._run_id = self._last = envelope.run_id
        self._guard = advance(envelope, stored.digest)
        self.records += 1
        return stored

    def _wrong(self, envelope: Envelope, stored: Stored) -> str | None:
        """What is wrong with a record in this place."""
        seq = self._guard.seq + 1
        if envelope.run_id in self._seen:
            return f"run {envelope.run_id} was there before"
        if envelope.seq != seq or self._run_id not in (None, envelope.run_id):
            return f"record {envelope.seq} of run {envelope.run_id} stands in its place"
        if digest_of(self._guard.digest, stored.body) != stored.digest:
            return "its bytes or its digest were changed, or the record before it is another"
        if judge(self._guard, envelope, stored) is not ACCEPTED:
            return "its writer did not hold the run"
        if known := self._anchors.get(envelope.run_id, {}).get(seq):
            if known != stored.digest:
                return "its digest is not the one that was anchored"
            self.anchored.add((envelope.run_id, seq))
        return None

    def _close(self, head: ExportHead, line: bytes) -> None:
        run_id, guard = self._run_id, self._guard
        good = ExportHead(head.run_id if run_id is None else run_id, guard.seq, guard.digest)
        if run_id is not None and line == head_line(good):
            self.heads.append(good)
            self._seen.add(run_id)
        elif run_id not in (head.run_id, None) and head.digest != guard.digest:
            self._bad(run_id, f"the head of run {head.run_id} stands in its place")
        elif run_id is not None and (head.digest == guard.digest or head.seq == guard.seq or guard.ended):
            self._bad(run_id, "it was changed", head=True)
        else:
            missing = "it is missing: " if head.seq > guard.seq else ""
            self._bad(head.run_id, f"{missing}the head of run {head.run_id} says that there are {head.seq} records")

    def _end(self, line: bytes) -> None:
        if self._run_id is not None and not self._lost:
            self._bad(self._run_id, "the list of heads stands in its place")
        self._ended = True
        listed = _read(line, _read_list)
        if listed is None or line[-1:] != b"\n":
            self._fault("it was changed or cut off", of_list=True)
            return
        if self.faults:
            return  # what follows from them is no news
        named = {head.run_id for head in listed.heads}
        found = {head.run_id for head in self.heads}
        if left_out := next((head.run_id for head in self.heads if head.run_id not in named), None):
            self._fault(f"it does not name run {left_out}", of_list=True)
        elif missing := next((head.run_id for head in listed.heads if head.run_id not in found), None):
            self.faults.append(Fault(self._line, missing, 1, "the whole run is missing: the list names it"))
        elif line != heads_line(self.heads):
            self._fault("it was changed", of_list=True)

    def _begin(self) -> None:
        """The next line is of another run."""
        self._run_id, self._guard, self._lost, self._nameless = None, Guard(), False, None

    def _bad(self, run_id: str | None, reason: str, head: bool = False) -> None:
        """The line is not what should stand in the run's next place."""
        if self._lost:
            return
        self._lost = True
        of_head = head or self._guard.ended
        named = self._run_id
        if named is None and self._listed:
            named = self._due()
            of_head = of_head or named is None  # after the last run comes the list
        elif named is None:
            named, self._nameless = run_id, len(self.faults)  # the run's other lines say which it is
        self.faults.append(Fault(self._line, named, None if of_head else self._guard.seq + 1, reason))

    def _due(self) -> str | None:
        """The run that comes after the last one, by the list."""
        after = self._listed.index(self._last) + 1 if self._last in self._listed else 0
        return self._listed[after] if after < len(self._listed) else None

    def _fault(self, reason: str, of_list: bool) -> None:
        seq = None if of_list or self._guard.ended else self._guard.seq + 1
        self.faults.append(Fault(self._line, None if of_list else self._run_id, seq, reason))

    def _name(self, run_id: str) -> None:
        if self._nameless is not None:
            self.faults[self._nameless] = self.faults[self._nameless]._replace(run_id=run_id)
            self._nameless = None


def listed_in(lines: Iterable[bytes]) -> list[ExportHead]:
    """The heads that an export's last line lists; none where it is no list of the runs whose heads stand before it."""
    last, found = b"", set[str]()
    for line in lines:
        last = line
        if EVENT_MARK not in line and (head := _read(line, _read_head)):
            found.add(head.run_id)
    listed = _read(last, _read_list)
    heads = listed.heads if listed is not None else []
    return heads if found <= {head.run_id for head in heads} else []


def read_anchors(lines: Iterable[bytes]) -> Iterator[ExportHead]:
    """The heads that an anchor file holds, one a line. Raises UnreadableRecord."""
    for number, line in enumerate(lines, 1):
        try:
            fields = orjson.loads(line)
            yield ExportHead(fields["run_id"], fields["seq"], fields["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableRecord(f"line {number} holds no anchored head: {error!r}") from error


def _read(line: bytes, decode: Callable[[bytes], T]) -> T | None:
    try:
        return decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


_read_head = msgspec.json.Decoder(ExportHead).decode
_read_list = msgspec.json.Decoder(_List).decode
