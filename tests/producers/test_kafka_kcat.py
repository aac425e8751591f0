"""What others see of the log: kcat reads a record, the CloudEvents SDK understands its headers."""

import json
import shutil
import subprocess
from typing import Any
from uuid import uuid4

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from ledgent.agent import Agent, ScriptedModel
from ledgent.producers.kafka.topics import create
from ledgent.producers.kafka.wire import address_of
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import decode
from ledgent.schemas.settings import KafkaSettings
from tests.conftest import MISSING


def test_kcat_shows_a_record_as_a_cloud_event(kafka: str) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip(f"{MISSING}no kcat was found: apt-get install kcat")
    url = f"kafka://{kafka}/kcat-{uuid4().hex[:8]}"
    create(address_of(url), KafkaSettings(partitions=1))
    log = open_log(url)
    try:
        run = Agent("greeter", ScriptedModel(["Hello!"])).run_sync("Hi", log=log)
        records = [decode(stored) for stored in log.records(run.run_id)]
    finally:
        log.close()
    topic = address_of(url).topics.events
    command = [kcat, "-b", kafka, "-C", "-t", topic, "-e", "-q", "-J"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        shown = json.loads(line)
        headers = dict(zip(shown["headers"][::2], map(str.encode, shown["headers"][1::2]), strict=True))
        event: Any = from_binary_event(KafkaMessage(headers, shown["key"], shown["payload"].encode()))
        assert event.get_type() == f"ledgent.{record.event.type}"
        assert event.get_subject() == shown["key"] == run.run_id
        assert event.get_time() == record.at
        assert event.get_data()["seq"] == record.seq
        assert headers["traceparent"].decode().split("-")[1] == record.envelope.trace_id
