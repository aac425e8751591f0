"""A chat-completions server that answers at once: five turns of one tool call each, then a final text.

`python benchmarks/zero_latency_server.py` prints its port. The number of assistant turns in the request decides the
answer, so it keeps no state. Written on a bare asyncio protocol: what is measured is the client.
"""

import asyncio
import json

import orjson

TURNS = 5
USAGE = {"prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140}


def answer(request: dict) -> dict:
    """The completion for a request."""
    turn = sum(1 for message in request["messages"] if message.get("tool_calls"))
    message: dict = {"role": "assistant", "content": None}
    if turn < TURNS:
        arguments = json.dumps({"a": turn + 1, "b": 1})
        function = {"name": "add", "arguments": arguments}
        message["tool_calls"] = [{"id": f"call_{turn}", "type": "function", "function": function}]
    else:
        message["content"] = f"The answer after {turn} tool calls is 42."
    finish = "tool_calls" if turn < TURNS else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {
        "id": f"chatcmpl-{turn}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request["model"],
        "choices": [choice],
        "usage": USAGE,
    }


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            reply = orjson.dumps(answer(orjson.loads(body)))
            status = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
            self.transport.write(status + reply)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
