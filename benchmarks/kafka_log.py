"""What the log on Kafka costs, as ratios taken in one run against one broker.

    python benchmarks/kafka_log.py --kafka 127.0.0.1:9092 [--records 20000] [--runs 32] [-o json]

Appending: events a second that `append` acknowledges (durable, read back and accepted) for many runs at once, and for
one, beside a bare kafka-python producer with the same settings that sends the same bytes and checks every future.
Seeing: milliseconds from before an append until a query of the store shows the record, median and 95th percentile.
Storing: rows of events a second that the sink writes from the log (events, runs and spans), into an empty store and
into one that has half of them already, beside a bare insert of the same rows into the table `events`.
Every figure is over topics and a store of its own, deleted at the end.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from kafka import KafkaAdminClient, KafkaProducer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ledgent.agent.clock import SystemClock
from ledgent.agent.writing import RunWriter
from ledgent.processors.clickhouse.schema import TABLES, create, prefixed
from ledgent.processors.sink import BLOCK_RECORDS, Sink
from ledgent.processors.store import Store, open_store
from ledgent.producers.identity import new_run_id
from ledgent.producers.kafka.sending import PRODUCER
from ledgent.producers.kafka.topics import create as create_topics
from ledgent.producers.kafka.wire import address_of, client_options, headers_of_stored, partition_of
from ledgent.producers.memory import MemoryLog
from ledgent.producers.opening import open_log
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import AgentSpec, Limits, ModelSpec
from ledgent.schemas.codec import Stored
from ledgent.schemas.events import ModelCallCompleted, ModelCallStarted, RunClaimed, RunCompleted, RunStarted
from ledgent.schemas.ports import Log
from ledgent.schemas.settings import KafkaSettings
from ledgent.schemas.state import RunState
from ledgent.schemas.values import Usage

PARTITIONS = 4
TOGETHER = 4
"""Records in one append, as a step of a run has them."""
SEEN = 60
"""Appends whose way to the store is timed."""

SPEC = AgentSpec(
    name="benchmark",
    instructions="Be brief.",
    model=ModelSpec(provider="scripted", name="script"),
    tools=(),
    limits=Limits(),
)


async def written_run(writer: str, records: int) -> tuple[str, list[Stored]]:
    """A run's records, made as a worker makes them."""
    log = MemoryLog()
    log.writer = writer
    run_id = new_run_id()
    run = RunWriter(log, RunState(run_id), Guard(), SystemClock())
    run.claim()
    run.record(RunClaimed(reason="started"), None)
    run.record(RunStarted(request_id=run_id, agent=SPEC, input="hello", limits=Limits()), 1)
    for number in range(1, (records - 3) // 2 + 1):
        call = f"m{number}"
        started = ModelCallStarted(call_id=call, attempt=1, provider="p", model="m", request_digest="0" * 64)
        run.record(started, None, call, 1)
        usage = Usage(input_tokens=100, output_tokens=20)
        run.record(ModelCallCompleted(call_id=call, text="word " * 50, usage=usage, duration_ms=1.0), None, call, 1)
    run.record(RunCompleted(output="done"), None)
    await run.flush()
    return run_id, list(log.records(run_id))


def bare(url: str, runs: list[tuple[str, list[Stored]]]) -> float:
    """Records a second through kafka-python alone."""
    address, settings = address_of(url), KafkaSettings()
    producer = KafkaProducer(**client_options(address, settings), **PRODUCER)
    try:
        producer.partitions_for(address.topics.events)
        began = time.perf_counter()
        sent = [
            producer.send(
                address.topics.events,
                key=run_id.encode(),
                value=stored.body,
                headers=headers_of_stored(stored),
                partition=partition_of(run_id, PARTITIONS),
            )
            for run_id, records in runs
            for stored in records
        ]
        producer.flush()
        for future in sent:
            future.get(30)
        return len(sent) / (time.perf_counter() - began)
    finally:
        producer.close()


async def appended(log: Log, runs: list[tuple[str, list[Stored]]], at_once: int) -> float:
    """Records a second that the log acknowledges, so many runs at once."""
    places = asyncio.Semaphore(at_once)

    async def one(records: list[Stored]) -> None:
        async with places:
            for start in range(0, len(records), TOGETHER):
                await log.append(records[start : start + TOGETHER])

    began = time.perf_counter()
    await asyncio.gather(*(one(records) for _, records in runs))
    return sum(len(records) for _, records in runs) / (time.perf_counter() - began)


async def appending(address: Any, total: int, width: int) -> dict[str, float]:
    """Both rates, and that of one run at a time, interleaved three times; medians."""
    found: dict[str, list[float]] = {"bare": [], "ledgent": [], "ledgent_one_run": []}
    url = address("append")
    for _ in range(3):
        log = open_log(url)
        try:
            runs = [await written_run(log.writer, total // width // 3) for _ in range(width)]
            found["ledgent"].append(await appended(log, runs, width))
            few = [await written_run(log.writer, 200)]
            found["ledgent_one_run"].append(await appended(log, few, 1))
        finally:
            log.close()
        found["bare"].append(bare(address("bare"), runs))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    return {**medians, "ratio": medians["ledgent"] / medians["bare"]}


def wait_for_row(store: Store, run_id: str) -> None:
    """Returns once a query shows a record of the run."""
    while not store.query("SELECT seq FROM events WHERE run_id = {run_id:String} LIMIT 1", {"run_id": run_id}):
        time.sleep(0.002)


async def seeing(url: str, store: Store) -> dict[str, float]:
    """Milliseconds from an append to its row."""
    log, stop, waits = open_log(url), threading.Event(), []
    sink = threading.Thread(target=Sink(log, store).follow, args=(stop,))
    sink.start()
    try:
        for _ in range(SEEN):
            run_id, records = await written_run(log.writer, 5)
            began = time.perf_counter()
            await log.append(records)
            await asyncio.to_thread(wait_for_row, store, run_id)
            waits.append(1000 * (time.perf_counter() - began))
    finally:
        stop.set()
        sink.join()
        log.close()
    return {"median_ms": statistics.median(waits), "p95_ms": statistics.quantiles(waits, n=20)[-1]}


def storing(url: str, store: Store) -> dict[str, float]:
    """Rows a second, by the sink, by one that goes on from half of them, and bare; a sink writes runs and spans too."""
    log = open_log(url)
    try:
        began = time.perf_counter()
        count = Sink(log, store, prefixed("sunk_")).catch_up()
        sink_s = time.perf_counter() - began
        Sink(log, store, prefixed("half_")).write(log.read({}, count // 2))
        began = time.perf_counter()
        rest = Sink(log, store, prefixed("half_")).catch_up()
        resumed_s = time.perf_counter() - began
    finally:
        log.close()
    beside, events = prefixed("bare_"), prefixed("sunk_").events
    create(store, beside)
    columns = ", ".join(f"`{name}`" for name in TABLES.events.names)
    rows = [tuple(row.values()) for row in store.query(f"SELECT {columns} FROM {events.name}")]
    began = time.perf_counter()
    for start in range(0, len(rows), BLOCK_RECORDS):
        store.insert(beside.events.name, TABLES.events.names, rows[start : start + BLOCK_RECORDS])
    bare_s = time.perf_counter() - began
    rates = {"sink": count / sink_s, "sink_resumed": rest / resumed_s, "bare_insert": len(rows) / bare_s}
    return {**rates, "ratio": rates["sink"] / rates["bare_insert"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="the broker's address")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=32, help="runs that append at once")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    settings = KafkaSettings(partitions=PARTITIONS)
    made: list[str] = []

    def address(name: str) -> str:
        url = f"kafka://{options.kafka}/benchmark-{uuid4().hex[:8]}-{name}"
        create_topics(address_of(url), settings)
        made.extend(address_of(url).topics)
        return url

    with TemporaryDirectory() as folder, open_store(f"chdb:///{folder}/store", stay=True) as store:
        addresses = {name: address(name) for name in ("append", "bare", "seen")}
        try:
            report = {
                "append_events_per_s": asyncio.run(appending(addresses.__getitem__, options.records, options.runs)),
                "append_to_visible": asyncio.run(seeing(addresses["seen"], store)),
                "sink_rows_per_s": storing(addresses["append"], store),
            }
        finally:
            admin = KafkaAdminClient(**client_options(address_of(f"kafka://{options.kafka}"), settings))
            admin.delete_topics(made)
            admin.close()
    if options.output == "json":
        print(json.dumps(report, indent=1))
        return
    for title, figures in report.items():
        print(title + ":", ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
