"""A chat-completions server that answers at once: five turns of one tool call each, then a final text.

The model "fake-4" asks for four tool calls in each turn. A streamed answer is an event for each piece of a few bytes.

`python benchmarks/zero_latency_server.py` prints its port. The number of assistant turns in the request decides the
answer, so it keeps no state. Written on a bare asyncio protocol: what is measured is the client.
"""

import asyncio
import json

import orjson

TURNS = 5
PIECE = 8
"""Characters of a streamed text or of streamed arguments in an event."""
USAGE = {"prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140}


def answer(request: dict) -> dict:
    """The completion for a request."""
    turn = sum(1 for message in request["messages"] if message.get("tool_calls"))
    message: dict = {"role": "assistant", "content": None}
    if turn < TURNS:
        arguments = json.dumps({"a": turn + 1, "b": 1})
        function = {"name": "add", "arguments": arguments}
        ids = [f"call_{turn}_{number}" for number in range(4 if request["model"] == "fake-4" else 1)]
        message["tool_calls"] = [{"id": id, "type": "function", "function": function} for id in ids]
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


def pieces(whole: dict) -> list[dict]:
    """The chunks of a streamed completion that add up to this one."""
    (choice,), message = whole["choices"], whole["choices"][0]["message"]
    deltas: list[dict] = [{"role": "assistant", "content": ""}]
    text = message["content"] or ""
    deltas += [{"content": text[at : at + PIECE]} for at in range(0, len(text), PIECE)]
    for index, call in enumerate(message.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": "add", "arguments": ""}}]})
        for at in range(0, len(arguments), PIECE):
            more = {"index": index, "function": {"arguments": arguments[at : at + PIECE]}}
            deltas.append({"tool_calls": [more]})
    same = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = [{**same, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**same, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return [*chunks, {**same, "choices": [], "usage": whole["usage"]}]


def body_of(request: dict) -> tuple[bytes, bytes]:
    """The content type and the body of the response."""
    whole = answer(request)
    if not request.get("stream"):
        return b"application/json", orjson.dumps(whole)
    events = [b"data: " + orjson.dumps(chunk) for chunk in pieces(whole)]
    return b"text/event-stream", b"\n\n".join([*events, b"data: [DONE]", b""])


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
            kind, reply = body_of(orjson.loads(body))
            status = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(reply))
            self.transport.write(status + reply)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
