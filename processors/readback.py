"""What the sink reads back of its own rows: where it stands, and what is known of a run. Only reads."""

from collections.abc import Sequence
from typing import Any

from ledgent.processors.blocks import Known
from ledgent.processors.clickhouse.schema import Tables
from ledgent.processors.runs import RunRow
from ledgent.processors.spans import SpanRow
from ledgent.processors.store import Store
from ledgent.schemas.acceptance import Guard, Verdict
from ledgent.schemas.events import TERMINAL_TYPES

_POSITIONS = """
SELECT partition, max(`offset`) AS last FROM {events:Identifier} WHERE topic = {topic:String} GROUP BY partition
"""

# Rows past the position are there when the partition has just changed hands and its last holder was slow.
_GUARDS = """
SELECT run_id, max(seq) AS last, argMax((epoch, writer, digest, type), seq) AS head
FROM {events:Identifier} WHERE run_id IN {run_ids:Array(String)} AND verdict = {accepted:String}
    AND (partition != {partition:UInt32} OR `offset` <= {position:Int64})
GROUP BY run_id
"""

_DIGESTS = """
SELECT run_id, seq, any(digest) AS accepted_digest FROM {events:Identifier}
WHERE (run_id, seq) IN {places:Array(Tuple(String, UInt64))} AND verdict = {accepted:String} GROUP BY run_id, seq
"""

_RUNS = "SELECT * FROM {runs:Identifier} FINAL WHERE run_id IN {run_ids:Array(String)}"

# A span that has ended is touched no more. But the model call that answered last is the parent of spans to come, and
# spans past the position are there because a crash came before their records were in `events`.
_SPANS = """
SELECT * FROM {spans:Identifier} FINAL WHERE run_id IN {run_ids:Array(String)} AND (
    ended_seq = 0 OR last_offset > {position:Int64} OR (run_id, ended_seq) IN (
        SELECT run_id, max(ended_seq) FROM {spans:Identifier} FINAL
        WHERE run_id IN {run_ids:Array(String)} AND kind = 'model_call' AND status = 'ok' GROUP BY run_id
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

    def runs(self, run_ids: Sequence[str], partition: int, position: int) -> dict[str, Known]:
        """What was known of these runs of one partition when its records up to the position had been read."""
        known = {run_id: Known(run_id) for run_id in run_ids}
        for row in self._ask(_GUARDS, run_ids=run_ids, partition=partition, position=position):
            epoch, writer, digest, type = row["head"]
            known[row["run_id"]].guard = Guard(epoch, writer, row["last"], digest, type in TERMINAL_TYPES)
        for row in self._ask(_RUNS, run_ids=run_ids):
            known[row["run_id"]].row = RunRow(**row)
        for row in self._ask(_SPANS, run_ids=run_ids, position=position):
            span = SpanRow(**row)
            known[span.run_id].learn(span)
            if span.last_offset > position:
                known[span.run_id].ahead[span.span_id] = span.last_offset
        return known

    def digests(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """The digests of the records accepted at these places, each a run and a seq."""
        return {(row["run_id"], row["seq"]): row["accepted_digest"] for row in self._ask(_DIGESTS, places=places)}

    def _ask(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._store.query(sql, {**self._names, **parameters})
