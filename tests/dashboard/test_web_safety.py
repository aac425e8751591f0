"""What every answer to a browser is held to, and how Streamlit is started."""

import asyncio
from typing import Any

import pytest

from ledgent.dashboard.web import APP, OPTIONS, streamlit_arguments
from ledgent.dashboard.web.safety import Message, Receive, Safety, Scope, Send


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"page"})


def asked(host: str | None, kind: str = "http") -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {}

    headers = [(b"host", host.encode())] if host is not None else []
    asyncio.run(Safety(page)({"type": kind, "headers": headers}, receive, send))
    return sent


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8501", "localhost:8501", "localhost", "LOCALHOST:1", "[::1]:8501", "[::1]"]
)
def test_this_machine_is_answered(host: str) -> None:
    start, body = asked(host)
    headers = dict(start["headers"])
    assert (start["status"], body["body"], headers[b"x-own"]) == (200, b"page", b"1")
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self' blob:;" in policy


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8501", "10.0.0.5:8501", "", None])
def test_a_page_elsewhere_that_pretends_to_be_this_one_is_refused(host: str | None) -> None:
    start, body = asked(host)
    assert start["status"] == 421
    assert b"127.0.0.1" in body["body"]
    assert asked(host, "websocket") == [{"type": "websocket.close", "code": 1008}]


def test_it_listens_on_loopback_and_tells_nobody() -> None:
    assert OPTIONS["server.address"] == "127.0.0.1"
    assert OPTIONS["browser.gatherUsageStats"] == "false"
    assert OPTIONS["client.showErrorDetails"] == "none"
    arguments = streamlit_arguments(8600)
    assert arguments[:2] == ["run", str(APP)]
    assert "--server.port=8600" in arguments
    assert "--server.address=127.0.0.1" in arguments
    assert "--server.address=0.0.0.0" in streamlit_arguments(8600, everywhere=True)
    assert APP.is_file()


def test_both_themes_have_the_same_colours() -> None:
    light = {name.rpartition(".")[2] for name in OPTIONS if name.startswith("theme.light.")}
    dark = {name.rpartition(".")[2] for name in OPTIONS if name.startswith("theme.dark.")}
    assert light == dark != set()
