"""A process that takes requests from a log on Kafka, and tells on its standard output which; it finishes none.

python -m tests.producers.taking URL
"""

import asyncio
import sys

from ledgent.producers.kafka.log import KafkaLog
from ledgent.producers.kafka.member import Timing
from ledgent.producers.kafka.wire import address_of
from ledgent.schemas.settings import KafkaSettings

CLERK = frozenset({"clerk"})
QUICK = Timing(session_s=2, heartbeat_s=0.3, poll_interval_s=6, hang_s=3, commit_s=0.1, silence_s=3)


async def main(url: str) -> None:
    log = KafkaLog(address_of(url), KafkaSettings(), timing=QUICK)
    while True:
        for request in await log.take(CLERK, 100, 0.5):
            print(request.request_id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
