"""`ledgent model-server`: a model that answers from a script, behind an OpenAI-compatible door on loopback."""

from pathlib import Path
from typing import Annotated

import typer

from ledgent.dashboard.cli.options import FaultsGiven

DEFAULT_PORT = 8585


def model_server(
    script: Annotated[
        Path | None, typer.Option("--script", metavar="FILE", help="A JSON list of turns; without one it echoes.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where; 0: any that is free.")] = DEFAULT_PORT,
    delay: Annotated[float, typer.Option("--delay", min=0.0, help="Seconds that an answer takes.")] = 0.0,
    faults: FaultsGiven = None,
) -> None:
    """Serve a scripted model to any OpenAI client, for tests and bad days: no key, no cost, no chance.

    A turn is a text, {"call": "add", "arguments": {"a": 1}}, a list of those, or {"fail": "rate_limited"}.
    """
    import asyncio
    import signal

    from ledgent.agent.faults import Faults
    from ledgent.dashboard.cli.output import note, say
    from ledgent.dashboard.model_server import ModelServer, scripted
    from ledgent.dashboard.working import until_signal

    bad_day = Faults.parse(faults) if faults is not None else None
    model = scripted(script, delay)
    server = ModelServer(model if bad_day is None else bad_day.model(model))

    async def serve() -> signal.Signals | None:
        async with server.listening(port) as address:
            say(f"Answering at {address} (OPENAI_BASE_URL); Ctrl-C stops.")
            return await until_signal(asyncio.get_running_loop().create_future())

    received = asyncio.run(serve())
    note(f"Stopped after {server.answered:,} answers, {server.failed:,} of them failures.")
    if received is signal.SIGINT:
        raise typer.Exit(130)
