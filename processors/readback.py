"""What the sink reads back of its own rows: where it stands, and what is known of a run. Only reads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ledgent.processors.blocks import Known
from ledgent.processors.clickhouse.schema import Tables
from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import SpanRow
from ledgent.processors.store import Store
from ledgent.schemas.acceptance import Guard, Verdict
from ledgent.schemas.events import TERMINAL_TYPES

T = TypeVar("T")

AT_ONCE = 2_000
"""Runs, or places, that one query names: a ClickHouse server takes no parameter over 128 KiB."""

_POSITIONS = """
SELECT partition, max(`offset`) AS last FROM {events:Identifier} WHERE topic = {topic:String} GROUP BY partition
"""

# Rows past the position are there when the partition has just changed hands and its last holder was slow. What stands
# in a partition without a position counts.
_GUARDS = """
WITH transform(
    partition, {partitions:Array(UInt32)}, {positions:Array(Int64)}, toInt64(9223372036854775807)
) AS position
SELECT run_id, max(seq) AS last, argMax((epoch, writer, digest, type), seq) AS head
FROM {events:Identifier} WHERE run_id IN {run_ids:Array(String)} AND verdict = {accepted:String}
    AND `offset` <= position
GROUP BY run_id
"""

_DIGESTS = """
SELECT run_id, seq, any(digest) AS accepted_digest FROM {events:Identifier}
WHERE (run_id, seq) IN {places:Array(Tuple(String, UInt64))} AND verdict = {accepted:String} GROUP BY run_id, seq
"""

_RUNS = "SELECT * FROM {runs:Identifier} FINAL WHERE run_id IN {run_ids:Array(String)}"

# A span that has ended is touched no more. But the model call that ended last is the parent of spans to come, and
# spans past the position are there because a crash came before their records were in `events`.
_SPANS = """
WITH transform(
    partition, {partitions:Array(UInt32)}, {positions:Array(Int64)}, toInt64(9223372036854775807)
) AS position
SELECT * FROM {spans:Identifier} FINAL WHERE run_id IN {run_ids:Array(String)} AND (
    ended_seq = 0 OR last_offset > position OR (run_id, ended_seq) IN (
        SELECT run_id, max(ended_seq) FROM {spans:Identifier} FINAL
        WHERE run_id IN {run_ids:Array(String)} AND kind = 'model_call' GROUP BY run_id
    )
)
"""


class Readback:
    """The sink's own rows. Raises StoreUnavailable, StoreQueryRefused."""

    def __init__(self, store: Store, tables: Tables) -> None:
        self._store = store
        self._names = {
            "events": tables.events.name,
            "runs": tables.runs.name,
            "spans": tables.spans.name,
            "accepted": Verdict.ACCEPTED.value,
        }

    def positions(self, topic: str) -> dict[int, int]:
        """The last offset stored, by partition."""
        return {row["partition"]: row["last"] for row in self._ask(_POSITIONS, topic=topic)}

    def runs(self, partitions: Mapping[str, int], positions: Mapping[int, int]) -> dict[str, Known]:
        """What was known of these runs, each in its partition, when the records up to the positions had been read."""
        # Of all partitions at once: a query takes some 10 ms, whether it names one run or a hundred.
        known = {run_id: Known(run_id) for run_id in partitions}
        upto = {partition: positions.get(partition, -1) for partition in partitions.values()}
        places = {"partitions": list(upto), "positions": list(upto.values())}
        for run_ids in _parts(list(partitions)):
            for row in self._ask(_GUARDS, run_ids=run_ids, **places):
                epoch, writer, digest, type = row["head"]
                known[row["run_id"]].guard = Guard(epoch, writer, row["last"], digest, type in TERMINAL_TYPES)
        # Of a run of which nothing was accepted nothing was known. Rows that a crash left ahead come about once more.
        for run_ids in _parts([run_id for run_id, run in known.items() if run.guard.seq]):
            for row in self._ask(_RUNS, run_ids=run_ids):
                known[row["run_id"]].row = RunRow(**row)
            for row in self._ask(_SPANS, run_ids=run_ids, **places):
                span = SpanRow(**row)
                known[span.run_id].learn(span)
                if span.last_offset > upto[partitions[span.run_id]]:
                    known[span.run_id].ahead[span.span_id] = span.last_offset
        return known

    def digests(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """The digests of the records accepted at these places, each a run and a seq."""
        return {
            (row["run_id"], row["seq"]): row["accepted_digest"]
            for part in _parts(places)
            for row in self._ask(_DIGESTS, places=part)
        }

    def _ask(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._store.query(sql, {**self._names, **parameters})


def _parts(named: Sequence[T]) -> Iterator[Sequence[T]]:
    """All of them, so many as one query may name at a time."""
    for start in range(0, len(named), AT_ONCE):
        yield named[start : start + AT_ONCE]
