"""The dead letters of a log on Kafka for people: looked through, and delivered again. Decides nothing about runs."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from ledgent.producers.kafka.dead_letters import DeadLetter, read_letter
from ledgent.producers.kafka.reading import Readers
from ledgent.producers.kafka.wire import Address, stored_of
from ledgent.schemas.acceptance import Guard, Verdict, judge
from ledgent.schemas.codec import read_envelope
from ledgent.schemas.errors import LogUnavailable, UnreadableRecord, UsageError
from ledgent.schemas.ports import Log
from ledgent.schemas.requests import decode_request
from ledgent.schemas.settings import KafkaSettings


class Letter(NamedTuple):
    """A dead letter, and how people call it."""

    id: str
    """Where the message stands: `events:3:17` is offset 17 in partition 3 of the topic for events."""
    letter: DeadLetter


def dead_letters(address: Address, settings: KafkaSettings) -> list[Letter]:
    """Each message that was put aside, once, however many readers put it aside. Raises LogUnavailable."""
    readers = Readers(address, settings)
    try:
        topic = address.topics.dead_letters
        count = readers.partitions(topic)
        if not count:
            raise LogUnavailable(f"the topic {topic} is missing; `ledgent topics create`")
        ends = readers.ends(topic, range(count))
        found: dict[str, Letter] = {}
        for partition, end in ends.items():
            for message in readers.stretch(topic, partition, 0, end - 1):
                letter = _letter_in(message)
                name = letter.topic.removeprefix(f"{address.prefix}.")
                id = f"{name}:{letter.partition}:{letter.offset}"
                found.setdefault(id, Letter(id, letter))
        return sorted(found.values(), key=lambda each: each.letter.at)
    finally:
        readers.close()


def _letter_in(message: Any) -> DeadLetter:
    try:
        return read_letter(message.key, message.value, message.headers)
    except UnreadableRecord as error:
        at = datetime.fromtimestamp(message.timestamp / 1000, UTC)
        place = (message.topic, message.partition, message.offset)
        headers = [(name, value or b"") for name, value in message.headers]
        return DeadLetter(str(error), *place, at, message.key, message.value, headers)


def dead_letter(address: Address, settings: KafkaSettings, id: str) -> DeadLetter:
    """Raises UsageError where there is none of this id, LogUnavailable."""
    for found in dead_letters(address, settings):
        if found.id == id:
            return found.letter
    raise UsageError(f"there is no dead letter {id!r}; `ledgent dlq list` shows those there are")


async def deliver_again(log: Log, address: Address, letter: DeadLetter) -> str:
    """Brings what has become readable, by a newer version of ledgent, to where it belongs; the run's id.

    A request is submitted again. A record is appended again, if its run still stands where it was written. Nothing is
    sent that would be put aside or fenced once more. Raises UsageError, RequestRefused, LogUnavailable.
    """
    if letter.topic == address.topics.requests:
        return await _submit_again(log, letter)
    if letter.topic == address.topics.events:
        return await _append_again(log, letter)
    raise UsageError(f"a message of {letter.topic} is not delivered again: only requests and events are")


async def _submit_again(log: Log, letter: DeadLetter) -> str:
    try:
        request = decode_request(letter.value or b"")
    except UnreadableRecord as error:
        raise _still_unreadable(error) from error
    await log.submit(request)
    return request.run_id


async def _append_again(log: Log, letter: DeadLetter) -> str:
    stored = stored_of(letter.value, letter.headers)
    try:
        envelope = read_envelope(stored.body)
    except UnreadableRecord as error:
        raise _still_unreadable(error) from error
    head = log.head(envelope.run_id)
    guard = head.guard if head else Guard()
    verdict = judge(guard, envelope, stored)
    if verdict is not Verdict.ACCEPTED:
        raise UsageError(
            f"run {envelope.run_id} stands at record {guard.seq}: record {envelope.seq} by {envelope.writer} "
            f"would be {verdict}; the run has gone on without it"
        )
    await log.append([stored])
    return envelope.run_id


def _still_unreadable(error: UnreadableRecord) -> UsageError:
    return UsageError(f"{error}, for this version of ledgent too; delivered again it would only be put aside again")
