"""Requests: stored and read back, refused when they cannot be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.schemas.errors import RecordTooLarge, UnreadableRecord, UsageError
from ledgent.schemas.requests import (
    MAX_REQUEST_BYTES,
    AnyRequest,
    CancelRun,
    EndConversation,
    SendMessage,
    StartRun,
    decode_request,
    encode_request,
)
from tests.schemas.strategies import any_of

REQUESTS = st.sampled_from([StartRun, SendMessage, EndConversation, CancelRun]).flatmap(any_of)


@settings(max_examples=100, deadline=None)
@given(request=REQUESTS)
def test_every_request_comes_back_as_it_went_in(request: AnyRequest) -> None:
    again = decode_request(encode_request(request))
    assert again == request
    assert type(again) is type(request)
    assert encode_request(again) == encode_request(request)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"type":"dream"}', b'{"type":"cancel_run"}', b"\xff"])
def test_bytes_that_are_no_request_are_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableRecord, match="a request cannot be read"):
        decode_request(body)


def test_a_request_too_large_is_refused() -> None:
    with pytest.raises(RecordTooLarge, match=r"send_message.*by reference"):
        encode_request(SendMessage(request_id="1", run_id="run-1", text="x" * MAX_REQUEST_BYTES))


def test_half_a_character_in_a_request_is_refused() -> None:
    with pytest.raises(UsageError, match="half a character"):
        encode_request(CancelRun(request_id="1", run_id="run-1", reason="\ud800"))
