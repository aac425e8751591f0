"""What pages and commands ask of the store: typed, with bound parameters, exact however often a record came."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ledgent.processors.runs import RunRow
from ledgent.processors.span_rows import SpanRow
from ledgent.processors.store import Store
from ledgent.schemas.codec import Stored

if TYPE_CHECKING:
    import pyarrow


class RunOrder(StrEnum):
    """What runs can be sorted by, as an expression over their row."""

    STARTED = "started_at"
    UPDATED = "updated_at"
    DURATION = "duration_ms"
    COST = "cost_usd"
    TOKENS = "input_tokens + output_tokens"
    EVENTS = "events"
    STEPS = "steps"
    TOOL_CALLS = "tool_calls"
    TOOL_ERRORS = "tool_errors"
    RETRIES = "retries"
    AGENT = "agent"
    STATUS = "status"


class RunFilter(NamedTuple):
    """Which runs are meant; an empty field admits all."""

    statuses: Sequence[str] = ()
    agents: Sequence[str] = ()
    text: str = ""
    """Somewhere in the run's row, in capitals or not: id, agent, model, provider, session, labels, error, and the
    previews of input and output. What a preview has cut off is not searched."""
    since: datetime | None = None
    """Started at this time or later; aware."""
    until: datetime | None = None
    """Started before this time; aware."""


EVERY_RUN = RunFilter()


class RunPage(NamedTuple):
    """Some of the matching runs, and how many there are."""

    runs: tuple[RunRow, ...]
    matching: int
    total: int
    """All runs in the store."""
    statuses: dict[str, int]
    """By status: the runs that match all but the filter's statuses."""
    agents: dict[str, int]
    """By agent: the runs that match all but the filter's agents."""


class EventRead(NamedTuple):
    """A record as the store has it; its payload is in `stored`, to be decoded."""

    topic: str
    partition: int
    offset: int
    run_id: str
    seq: int
    epoch: int
    writer: str
    at: datetime
    cause: int
    """0: none."""
    trace_id: str
    span_id: str
    type: str
    version: int
    call_id: str
    attempt: int
    verdict: str
    reason: str
    """Why the payload of an accepted record cannot be read; usually empty."""
    stored: Stored


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MATCHES = """
({since:Int64} = 0 OR started_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))
AND ({until:Int64} = 0 OR started_at < fromUnixTimestamp64Micro({until:Int64}, 'UTC'))
AND ({text:String} = '' OR positionCaseInsensitiveUTF8(
    concatWithSeparator('\\n', run_id, agent, model, provider, session, input, output, error_code, error_message,
        arrayStringConcat(mapKeys(labels), '\\n'), arrayStringConcat(mapValues(labels), '\\n')),
    {text:String}
) > 0)
"""

_IN_FACETS = """
(empty({statuses:Array(String)}) OR has({statuses:Array(String)}, status))
AND (empty({agents:Array(String)}) OR has({agents:Array(String)}, agent))
"""

_COUNTS = (
    f"SELECT status, agent, count() AS runs, countIf({_MATCHES}) AS matching FROM runs FINAL GROUP BY status, agent"
)

_EVENTS = f"""
SELECT {", ".join(f"`{name}`" for name in EventRead._fields[:-1])}, body, digest FROM events FINAL
WHERE run_id = {{run_id:String}} AND seq > {{after_seq:Int64}}
ORDER BY seq LIMIT {{limit:UInt64}} WITH TIES
"""

_RECORDS = """
SELECT body, digest FROM events
WHERE run_id = {run_id:String} AND seq > {after_seq:Int64} AND verdict = 'accepted'
ORDER BY seq LIMIT 1 BY seq
"""


def list_runs(
    store: Store,
    which: RunFilter = EVERY_RUN,
    order: RunOrder = RunOrder.STARTED,
    *,
    descending: bool = True,
    limit: int = 50,
    offset: int = 0,
) -> RunPage:
    """A page of the matching runs, with counts over all of them."""
    asked = _parameters(which)
    counts = store.query(_COUNTS, asked)
    admitted = [row for row in counts if _admits(which.statuses, row["status"])]
    runs = store.query(_page_sql(order, descending), {**asked, "limit": limit, "offset": offset})
    return RunPage(
        runs=tuple(RunRow(**row) for row in runs),
        matching=sum(row["matching"] for row in admitted if _admits(which.agents, row["agent"])),
        total=sum(row["runs"] for row in counts),
        statuses=_facet("status", [row for row in counts if _admits(which.agents, row["agent"])]),
        agents=_facet("agent", admitted),
    )


def get_run(store: Store, run_id: str) -> RunRow | None:
    """The run's row; None for a run that the store does not have."""
    found = store.query("SELECT * FROM runs FINAL WHERE run_id = {run_id:String}", {"run_id": run_id})
    return RunRow(**found[0]) if found else None


def find_runs(store: Store, prefix: str, limit: int = 10) -> tuple[str, ...]:
    """The ids that begin like this, in order: the first is `prefix` itself if there is such a run."""
    found = store.query(
        "SELECT DISTINCT run_id FROM runs WHERE startsWith(run_id, {prefix:String}) "
        "ORDER BY run_id LIMIT {limit:UInt64}",
        {"prefix": prefix, "limit": limit},
    )
    return tuple(row["run_id"] for row in found)


def spans_of(store: Store, run_id: str) -> tuple[SpanRow, ...]:
    """The run's spans in the order in which they began: the run itself first."""
    found = store.query(
        "SELECT * FROM spans FINAL WHERE run_id = {run_id:String} ORDER BY started_seq, parent_span_id, span_id",
        {"run_id": run_id},
    )
    return tuple(SpanRow(**row) for row in found)


def events_of(store: Store, run_id: str, after_seq: int = 0, limit: int = 1_000) -> tuple[EventRead, ...]:
    """The run's records in order of seq, with those that were not accepted among them.

    Where the limit falls between records with one seq they are all given, so that `after_seq` goes on exactly.
    """
    found = store.query_arrow(_EVENTS, {"run_id": run_id, "after_seq": after_seq, "limit": limit})
    places = found.drop_columns(["body", "digest"]).to_pylist()
    reads = [EventRead(**place, stored=stored) for place, stored in zip(places, _stored(found), strict=True)]
    return tuple(sorted(reads, key=lambda read: (read.seq, read.partition, read.offset)))


def run_records(store: Store, run_id: str, after_seq: int = 0) -> list[Stored]:
    """The run's accepted records in order, each once."""
    return _stored(store.query_arrow(_RECORDS, {"run_id": run_id, "after_seq": after_seq}))


def _stored(found: "pyarrow.Table") -> list[Stored]:
    # As bytes: a body that was read in spite of a defect may be no UTF-8.
    bodies = found["body"].cast("binary").to_pylist()
    return [Stored(body, digest) for body, digest in zip(bodies, found["digest"].to_pylist(), strict=True)]


def _parameters(which: RunFilter) -> dict[str, Any]:
    return {
        "statuses": list(which.statuses),
        "agents": list(which.agents),
        "text": which.text,
        "since": _microseconds(which.since),
        "until": _microseconds(which.until),
    }


def _microseconds(time: datetime | None) -> int:
    """Since 1970; 0 for none."""
    return (time - _EPOCH) // timedelta(microseconds=1) if time else 0


def _page_sql(order: RunOrder, descending: bool) -> str:
    """In two steps, so that the previews of runs that are not on the page are not read."""
    direction = "DESC" if descending else "ASC"
    sorting = f"ORDER BY {order.value} {direction}, run_id {direction}"
    return f"""
SELECT * FROM runs FINAL WHERE run_id IN (
    SELECT run_id FROM runs FINAL WHERE {_IN_FACETS} AND {_MATCHES}
    {sorting} LIMIT {{limit:UInt64}} OFFSET {{offset:UInt64}}
) {sorting}
"""


def _admits(chosen: Sequence[str], value: str) -> bool:
    return not chosen or value in chosen


def _facet(name: str, counts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The matching runs by value, the most frequent first."""
    totals: Counter[str] = Counter()
    for row in counts:
        totals[row[name]] += row["matching"]
    return {value: total for value, total in totals.most_common() if total}
