"""What a recorded response means: read from the recording alone, without a line of the code under test."""

import re

from benchmarks.recorded_body import MALFORMED, Answer, Failure, error_of, is_error, json_of, withheld
from benchmarks.recorded_chat import chat_answer, chat_stream
from benchmarks.recorded_exchanges import CHAT, Exchange
from benchmarks.recorded_messages import message, message_stream


def meaning(exchange: Exchange) -> Answer | Failure:
    """What the adapter should make of the exchange."""
    status = status_of(exchange)
    if status >= 300:
        return error_of(status, exchange.text)
    if exchange.streamed:
        return withheld((chat_stream if exchange.api == CHAT else message_stream)(exchange.framed))
    body = json_of(exchange.text)
    if body is None:
        return MALFORMED
    if is_error(body):
        return error_of(200, exchange.text)
    return withheld((chat_answer if exchange.api == CHAT else message)(body))


def status_of(exchange: Exchange) -> int:
    """The recorded status; where there is none, what the body itself says, or else what would fit it."""
    if exchange.status is not None:
        return exchange.status
    body = None if exchange.streamed else json_of(exchange.text)
    if not is_error(body):
        return 200
    named = re.search(r'"(?:code|status|status_code)"\s*:\s*"?([45]\d\d)\b', exchange.text)
    return int(named[1]) if named else 400
