"""The tables of the store: their columns, and how they are made and dropped. Holds no query over their rows.

Every table replaces rows with the same key, so that a record read twice changes nothing. Parts are not split into
ClickHouse partitions: one insert makes one part, all or nothing.
"""

from typing import NamedTuple

from ledgent.processors.store import Store
from ledgent.schemas.errors import StoreError

VERSION = 3
"""Raised with every change below; the store is then rebuilt, never migrated."""


class Table(NamedTuple):
    """A table of rows that replace each other."""

    name: str
    about: str
    """What a row is."""
    columns: tuple[tuple[str, str, str], ...]
    """Name, type and meaning of each, in the order of the row's fields."""
    key: tuple[str, ...]
    """Rows that have these in common are one row; also the order on disk."""
    newest: str
    """Of such rows the one with the highest value here counts; empty: they are the same anyway."""
    granularity: int
    """Rows between two marks: the least that is read of a run."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.columns)

    def ddl(self) -> str:
        columns = ",\n".join(
            f"    `{name}` {type}" + (f" COMMENT '{meaning}'" if meaning else "")
            for name, type, meaning in self.columns
        )
        key = ", ".join(f"`{name}`" for name in self.key)
        return (
            f"CREATE TABLE IF NOT EXISTS `{self.name}` (\n{columns}\n)\n"
            f"ENGINE = ReplacingMergeTree({self.newest}) ORDER BY ({key})\n"
            f"SETTINGS index_granularity = {self.granularity}\n"
            f"COMMENT '{_comment()}'"
        )


_TIME = "DateTime64(6, 'UTC')"
_WORD = "LowCardinality(String)"

EVENTS = Table(
    name="events",
    about="One row per record read, whatever its verdict.",
    columns=(
        ("topic", _WORD, ""),
        ("partition", "UInt32", ""),
        ("offset", "UInt64", "with topic and partition: the place in the log"),
        ("run_id", "String", "empty: the record is unreadable"),
        ("seq", "UInt64", "1, 2, 3 ... within the run"),
        ("epoch", "UInt32", "which claim wrote it"),
        ("writer", _WORD, "the process that wrote it"),
        ("at", _TIME, ""),
        ("cause", "UInt64", "seq of the record that led to this one; 0: none"),
        ("trace_id", "String", ""),
        ("span_id", "String", ""),
        ("type", _WORD, ""),
        ("version", "UInt32", ""),
        ("call_id", "String", "empty: not about a call, or not accepted"),
        ("attempt", "UInt32", "0: not about an attempt, or not accepted"),
        ("verdict", _WORD, "accepted, duplicate, fenced, broken or unreadable"),
        ("reason", "String", "why the record, or its payload, cannot be read"),
        ("digest", "String", "SHA-256 over the digest of the record before and the body"),
        ("body", "String", "the record as stored, byte for byte"),
    ),
    key=("run_id", "seq", "epoch", "topic", "partition", "offset"),
    newest="",
    granularity=512,
)

RUNS = Table(
    name="runs",
    about="One row per run.",
    columns=(
        ("run_id", "String", ""),
        ("status", _WORD, "new, running, suspended, completed, failed, cancelled or limited"),
        ("suspended", _WORD, "why, while suspended"),
        ("agent", _WORD, ""),
        ("model", _WORD, ""),
        ("provider", _WORD, ""),
        ("session", "String", ""),
        ("labels", "Map(String, String)", ""),
        ("trace_id", "String", ""),
        ("started_at", f"Nullable({_TIME})", ""),
        ("updated_at", f"Nullable({_TIME})", "of the last accepted record"),
        ("ended_at", f"Nullable({_TIME})", ""),
        ("duration_ms", "Float64", "until the end, or the last record"),
        ("events", "UInt64", "accepted records"),
        ("steps", "UInt64", "model calls, however many attempts each took"),
        ("model_attempts", "UInt64", ""),
        ("tool_calls", "UInt64", "started, however many attempts each took"),
        ("tool_errors", "UInt64", "failed and uncertain attempts, rejected calls"),
        ("retries", "UInt64", ""),
        ("input_tokens", "UInt64", ""),
        ("output_tokens", "UInt64", ""),
        ("cached_tokens", "UInt64", "of the input"),
        ("reasoning_tokens", "UInt64", "of the output"),
        ("cost_usd", "Float64", ""),
        ("cost_known", "Bool", "whether every cost is in cost_usd, or in maybe_cost_usd"),
        ("maybe_tokens", "UInt64", "about what model calls that were lost, and made again, may have used besides"),
        ("maybe_cost_usd", "Float64", ""),
        ("input", "String", "the beginning of the first user message"),
        ("output", "String", "the beginning of the last answer"),
        ("error_code", _WORD, ""),
        ("error_message", "String", ""),
        ("limit_reached", _WORD, "the limit that ended the run"),
        ("epochs", "UInt32", "how often the run was claimed"),
        ("fenced", "UInt64", "records by writers that did not hold the run"),
        ("broken", "UInt64", "records of the holder with a wrong digest"),
        ("topic", _WORD, ""),
        ("partition", "UInt32", ""),
        ("last_offset", "UInt64", "the last record in this row"),
    ),
    key=("run_id",),
    newest="last_offset",
    granularity=8192,
)

SPANS = Table(
    name="spans",
    about="One row per attempt of an operation and per wait; the run itself is the root.",
    columns=(
        ("run_id", "String", ""),
        ("span_id", "String", ""),
        ("parent_span_id", "String", "empty: the run itself"),
        ("kind", _WORD, "run, model_call, tool_call, memory_read, retry_wait, input_wait or handover_wait"),
        ("name", _WORD, "the agent, model, tool or memory; of a wait, why it was"),
        ("call_id", "String", ""),
        ("attempt", "UInt32", "0: none"),
        ("purpose", _WORD, "of a model call: answer or summary"),
        ("status", _WORD, "running, waiting, ok, error, rejected, reused, uncertain, cancelled or limited"),
        ("started_at", f"Nullable({_TIME})", ""),
        ("ended_at", f"Nullable({_TIME})", ""),
        ("duration_ms", "Nullable(Float64)", ""),
        ("first_token_ms", "Nullable(Float64)", ""),
        ("input_tokens", "UInt64", ""),
        ("output_tokens", "UInt64", ""),
        ("cached_tokens", "UInt64", "of the input"),
        ("reasoning_tokens", "UInt64", "of the output"),
        ("cost_usd", "Nullable(Float64)", "NULL: not known, or nothing that costs"),
        ("error_code", _WORD, ""),
        ("error_message", "String", ""),
        ("started_seq", "UInt64", ""),
        ("ended_seq", "UInt64", "0 while open"),
        ("topic", _WORD, ""),
        ("partition", "UInt32", ""),
        ("last_offset", "UInt64", "the last record in this row"),
    ),
    key=("run_id", "span_id"),
    newest="last_offset",
    granularity=1024,
)


class Tables(NamedTuple):
    """The three tables as one store has them; a second set beside the first serves a check."""

    events: Table
    runs: Table
    spans: Table


TABLES = Tables(EVENTS, RUNS, SPANS)


def prefixed(prefix: str) -> Tables:
    """A second set of tables, told from the first by this beginning of their names."""
    return Tables(*(table._replace(name=prefix + table.name) for table in TABLES))


def are_made(store: Store, tables: Tables = TABLES) -> bool:
    """Whether all tables are there, of whatever version."""
    (found,) = store.query(
        "SELECT count() AS tables FROM system.tables WHERE database = {database:String} "
        "AND name IN {names:Array(String)}",
        {"database": store.database, "names": [table.name for table in tables]},
    )
    return bool(found["tables"] == len(tables))


def create(store: Store, tables: Tables = TABLES) -> None:
    """Makes the tables that are missing.

    Raises StoreError when those that are there belong to another version of ledgent.
    """
    found = store.query(
        "SELECT name, comment FROM system.tables WHERE database = {database:String} AND name IN {names:Array(String)}",
        {"database": store.database, "names": [table.name for table in tables]},
    )
    comments = {row["name"]: row["comment"] for row in found}
    if set(comments.values()) - {_comment()}:
        raise StoreError(
            f"the store {store.url} was made by another version of ledgent; "
            "`ledgent store rebuild` makes it anew from the log"
        )
    for table in tables:
        if table.name not in comments:
            store.command(table.ddl())


def drop(store: Store, tables: Tables = TABLES) -> None:
    """Drops the tables and their rows; the log has it all."""
    for table in tables:
        store.command(f"DROP TABLE IF EXISTS `{table.name}` SYNC")


def _comment() -> str:
    return f"ledgent tables, version {VERSION}"
