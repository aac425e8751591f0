"""An MCP server as others write them: `python tests/agent/mcp_server.py stdio`, or `http PORT`."""

import asyncio
import os
import sys
from base64 import b64encode

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import AudioContent, BlobResourceContents, CallToolResult, EmbeddedResource, TextResourceContents

server = MCPServer("shop")


@server.tool()
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail(text: str) -> str:
    """Fails."""
    raise ToolError(text)


@server.tool()
async def wait(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
async def count(to: int, context: Context) -> str:
    """Reports how far it is."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return "counted"


@server.tool(name="shop.picture")
def picture() -> list[str | Image]:
    """A picture and what it shows."""
    return ["a dot", Image(data=b"\x89PNG" * 3, format="png")]


@server.tool()
def files() -> CallToolResult:
    """Files of several kinds."""
    contents = [
        BlobResourceContents(uri="shop://reports/report.pdf", blob=b64encode(b"%PDF-1.7").decode()),
        TextResourceContents(uri="shop://hello.txt", text="hello"),
        BlobResourceContents(uri="shop://a.zip", blob=b64encode(b"PK\x03\x04").decode(), mime_type="application/zip"),
    ]
    audio = AudioContent(type="audio", data=b64encode(b"wav").decode(), mime_type="audio/wav")
    return CallToolResult(content=[*(EmbeddedResource(type="resource", resource=one) for one in contents), audio])


@server.tool()
def nothing() -> None:
    """Says nothing."""


@server.tool()
def environment(name: str) -> str:
    """A variable of the server's process."""
    return os.environ.get(name, "not set")


@server.tool()
def leave() -> str:
    """Ends the server's process in mid-call."""
    os._exit(3)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
