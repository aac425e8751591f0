"""Hosts the processors of a log on Kafka in Faust. The only file that imports Faust, and nothing is computed here.

The changelogs of both tables are topics that others read: `run-state` and `metrics`. An exception that left the loop
over batches would have Faust commit a batch that was not folded. So none does: what may pass is tried again, anything
else ends the process on the spot, and the next one folds the batch again.
"""

import asyncio
import logging
import os
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, NoReturn

import faust
import msgspec
from aiokafka.errors import KafkaError
from faust.contrib.asgi import faust_app_running
from faust.exceptions import FaustError
from faust.types import TP

from ledgent.processors.keeping import Keeper, Message, PassedOver
from ledgent.producers.identity import new_writer
from ledgent.producers.kafka import topics as kafka_topics
from ledgent.producers.kafka.system import SystemWriter
from ledgent.producers.kafka.wire import Address, address_of
from ledgent.schemas.errors import LogUnavailable, UnknownEventType, UsageError
from ledgent.schemas.settings import KafkaSettings, ProcessorSettings, Settings
from ledgent.schemas.snapshots import Marker

BATCH_RECORDS = 2_000
GATHER_S = 0.2
"""How long a batch waits for more."""
LOOK_S = 1.0
"""Between two looks at how far the log goes and which runs stand still."""
ANSWER_S = 10.0
"""How long the broker may take to say how far the log goes."""
TIDY_S = 60.0
COMMIT_S = 1.0
SESSION_S, HEARTBEAT_S = 15.0, 3.0

_PASSING = (KafkaError, FaustError, TimeoutError, OSError)
"""What a broker that is away or busy has Faust raise."""

_log = logging.getLogger(__name__)
_folded_to = msgspec.json.Decoder(Marker).decode
"""Reads that one field, which all that is in either table has."""


class _Table(faust.Table[bytes, bytes]):
    """On recovery, keeps of each key what has folded most: a process that was paused may write an old state last."""

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        newest: dict[bytes, Any] = {}
        for event in batch:
            before = newest[event.key].value if event.key in newest else self.data.get(event.key)
            if before is None or _folded_to(event.value).folded_to >= _folded_to(before).folded_to:
                newest[event.key] = event
        super().apply_changelog_batch(newest.values())


class _App(faust.App):
    stop_s: float
    _limit: threading.Timer | None = None

    @cached_property
    def flow_control(self) -> Any:
        """Lets go of what waits for the agent only where the flow had stopped.

        At the end of a recovery Faust resumes a flow that is under way already, and that would clear the queue of
        records that come only once (https://github.com/faust-streaming/faust/issues/596).
        """
        flow: Any = super().flow_control
        resume = flow.resume
        flow.resume = lambda: None if flow.is_active() else resume()
        return flow

    async def on_stop(self) -> None:
        """Waits for the batch under way, as it should; but with a broker that is away that would be for ever."""
        self._limit = threading.Timer(self.stop_s, os._exit, (1,))
        self._limit.daemon = True
        self._limit.start()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """All has stopped in time."""
        if self._limit:
            self._limit.cancel()
        await super().on_shutdown()


class _Kept:
    """A Faust table as its keeper sees it."""

    def __init__(self, app: _App, name: str, topic: str) -> None:
        self._changelog = _raw_topic(app, topic)
        self.table = app.Table(name, key_type=bytes, value_type=bytes, changelog_topic=self._changelog)

    @property
    def entries(self) -> MutableMapping[bytes, bytes]:
        return self.table.data

    async def write(self, partition: int, records: dict[bytes, bytes]) -> None:
        """The table's own setter would take the partition of the batch's last record, and wait for nothing."""
        try:
            sent = [
                await self._changelog.send(key=key, value=value, partition=partition) for key, value in records.items()
            ]
            await asyncio.gather(*sent)
        except _PASSING as error:
            raise LogUnavailable(f"a table's changes cannot be written: {error!r}") from error
        self.table.data.update(records)


def app_of(address: Address, kafka: KafkaSettings, settings: ProcessorSettings) -> _App:
    """The Faust app; it connects once it is started."""
    app = _App(
        f"{address.prefix}.processors",
        broker=[f"aiokafka://{server}" for server in address.servers],
        broker_credentials=_credentials(kafka),
        broker_commit_interval=COMMIT_S,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        processing_guarantee="at_least_once",
        stream_wait_empty=True,
        store="memory://",
        table_standby_replicas=0,  # a table's items would include theirs
        topic_allow_declare=False,  # `ledgent topics create` makes them
        topic_disable_leader=True,
        producer_max_request_size=1 << 20,
        Table=_Table,
        web_enabled=settings.port > 0,
        web_bind="127.0.0.1",
        web_host="127.0.0.1",
        web_port=settings.port or 6066,
        web_tables_enabled=False,
        web_router_enabled=False,
    )
    app.stop_s = settings.stop_s
    runs = _Kept(app, "runs", address.topics.run_state)
    windows = _Kept(app, "windows", address.topics.metrics)
    keeper = Keeper(address.topics.events, runs, windows, lambda: SystemWriter(address, kafka, new_writer()), settings)
    _declare(app, address.topics.events, keeper, runs.table)
    return app


def _declare(app: _App, topic: str, keeper: Keeper, runs: Any) -> None:
    """Tells the app what it is to run."""

    @app.agent(_raw_topic(app, topic), concurrency=1)
    async def fold(stream: Any) -> None:
        async for events in stream.take_events(BATCH_RECORDS, within=GATHER_S):
            try:
                await keeper.fold([_message(event.message) for event in events])
            except (UnknownEventType, PassedOver) as error:
                _end(str(error))
            except Exception as error:  # noqa: BLE001  # see above: it must not leave the loop
                _log.exception("a batch could not be folded")
                _end(f"the processors have a defect: {error!r}")

    async def took_over() -> None:
        assigned = app.consumer.assignment()
        keeper.took_over(frozenset(tp.partition for tp in assigned if tp.topic == topic))

    async def look() -> None:
        asked = [TP(topic, number) for number in keeper.partitions]
        if not asked:
            return
        try:
            ends = await asyncio.wait_for(app.consumer.highwaters(*asked), ANSWER_S)
        except _PASSING as error:
            _log.warning("the broker does not say how far the log goes: %r", error)
            return
        keeper.seen({tp.partition: end - 1 for tp, end in ends.items()})

    runs.on_recover(took_over)
    for every_s, doing in ((LOOK_S, look), (LOOK_S, keeper.alert), (TIDY_S, keeper.tidy)):
        app.task(partial(_again_and_again, app, every_s, doing))

    @app.page("/healthz")
    async def healthz(view: Any, request: Any) -> Any:
        health = keeper.health()
        return view.json(health, status=503 if health["trouble"] else 200)


async def _again_and_again(app: _App, every_s: float, doing: Callable[[], Awaitable[None]]) -> None:
    """Faust's own timers complain when one takes long."""
    while not app.should_stop:
        await doing()
        await app.sleep(every_s)


def _raw_topic(app: _App, name: str) -> Any:
    raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw"}
    return app.topic(name, key_type=bytes, value_type=bytes, allow_empty=True, **raw)


def _message(message: Any) -> Message:
    headers = message.headers or ()
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    at = datetime.fromtimestamp(message.timestamp, UTC)
    return Message(message.partition, message.offset, at, message.key, message.value, pairs)


def _end(reason: str) -> NoReturn:
    """Ends the process with nothing more committed."""
    _log.critical("%s", reason)
    logging.shutdown()
    os._exit(1)


def _credentials(kafka: KafkaSettings) -> Any:
    context = None
    if "SSL" in kafka.security_protocol:
        context = ssl.create_default_context(cafile=kafka.ca_file or None)
        if kafka.cert_file:
            context.load_cert_chain(kafka.cert_file, kafka.key_file or None)
    if "SASL" in kafka.security_protocol:
        password = kafka.password.get_secret_value()
        return faust.SASLCredentials(
            username=kafka.username, password=password, mechanism=kafka.sasl_mechanism, ssl_context=context
        )
    return faust.SSLCredentials(context) if context is not None else None


def checked_app(settings: Settings) -> _App:
    """The app for this log, whose topics are as they should be. Raises UsageError, LogUnavailable."""
    if not settings.log.startswith("kafka://"):
        raise UsageError(
            f"the processors are for a log on Kafka, and LEDGENT_LOG is {settings.log!r}: set it to kafka://host:port; "
            "a log on SQLite needs only `ledgent up`"
        )
    address, kafka = address_of(settings.log), KafkaSettings()
    for flaw in kafka_topics.check(address, kafka):
        if flaw.serious:
            raise LogUnavailable(f"the topic {flaw.topic} {flaw.what}; {flaw.mend}")
    return app_of(address, kafka, ProcessorSettings())


def run(settings: Settings) -> signal.Signals:
    """Runs the processors until a signal, which is returned; warnings go to stderr.

    Raises UsageError, LogUnavailable.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return asyncio.run(_run(checked_app(settings)))


async def _run(app: _App) -> signal.Signals:
    received: list[signal.Signals] = []
    stop = asyncio.Event()

    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        stop.set()
        for handled in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(handled)
            signal.signal(handled, signal.SIG_DFL)  # a second one ends it there and then: what it kept is on the broker

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    async with faust_app_running(app):
        await app.wait(stop.wait())
    if not received:
        raise LogUnavailable("the processors stopped by themselves; their log says why, start them again")
    return received[0]


def __getattr__(name: str) -> Any:
    """`app`, made when `faust -A` asks for it: an import alone reaches for no broker."""
    if name == "app":
        return checked_app(Settings())
    raise AttributeError(name)
