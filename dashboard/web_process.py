"""The process that serves the pages: started and watched by its parent, and never outliving it.

Run as a module it is the child: Streamlit, with a thread that ends it when its standard input does, as it does when
the parent is gone, however it went.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading

from ledgent.dashboard.web import streamlit_arguments
from ledgent.schemas.errors import LedgentError, UsageError
from ledgent.schemas.settings import Settings

HOST = "127.0.0.1"
START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 5.0
_POLL_S = 0.05


def check_port(port: int) -> None:
    """Raises UsageError for a port that something else listens on."""
    if not _is_free(port):
        other = next((near for near in range(port + 1, min(port + 100, 65536)) if _is_free(near)), None)
        hint = f"choose another, as with --port {other}" if other else "choose another with --port"
        raise UsageError(f"port {port} is taken by another program (another `ledgent up`?); {hint}")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


class WebProcess:
    """The pages, served by a child process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.address = f"http://{HOST}:{port}"
        self._port = port

    @classmethod
    async def start(cls, settings: Settings, port: int, *, everywhere: bool = False) -> "WebProcess":
        """Starts it; `ready` tells when it answers."""
        # In the environment, since a store's URL may hold a password and arguments can be read by everyone.
        environment = os.environ | {"LEDGENT_LOG": settings.log, "LEDGENT_STORE": settings.store}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            str(port),
            *(["everywhere"] if everywhere else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        return cls(process, port)

    async def ready(self) -> None:
        """Returns once the pages are served. Raises LedgentError when the process ends or is silent."""
        deadline = asyncio.get_running_loop().time() + START_PATIENCE_S
        while not await _answers(self._port):
            if self._process.returncode is not None:
                raise _ended(self._process.returncode)
            if asyncio.get_running_loop().time() > deadline:
                raise LedgentError(f"the dashboard did not answer on {self.address} within {START_PATIENCE_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def wait(self) -> None:
        """Returns never. Raises LedgentError when the process ends."""
        raise _ended(await self._process.wait())

    async def stop(self) -> None:
        """Ends the process, by force if it must be."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_PATIENCE_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _ended(code: int) -> LedgentError:
    return LedgentError(f"the dashboard's process ended by itself with exit code {code}; what it wrote is above")


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /_stcore/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        return b" 200 " in await asyncio.wait_for(reader.readline(), 2.0)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


def _end_with_parent() -> None:
    while os.read(0, 4096):  # unbuffered: a reader that waits in a buffer would stop the interpreter from ending
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(port: str, *where: str) -> None:
    """The child."""
    from streamlit.web.cli import main

    threading.Thread(target=_end_with_parent, name="ledgent-lifeline", daemon=True).start()
    sys.argv = ["streamlit", *streamlit_arguments(int(port), everywhere=where == ("everywhere",))]
    main()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
