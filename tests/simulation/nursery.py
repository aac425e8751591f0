"""Processes by the dozen, to be killed: each is forked from one that has imported everything already.

python -m tests.simulation.nursery MODULE ARGUMENT... answers each line on its input with the id of a new process that
calls the module's `main` with the arguments; at the end of the input it kills those that are left.
"""

import asyncio
import contextlib
import importlib
import inspect
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).resolve().parents[2]


class Nursery:
    """Its processes live as long as the block, unless they are killed."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.simulation.nursery", module, *arguments]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self) -> int:
        """The id of a new process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, and reads until all that wrote to its output are gone
        assert self._process.returncode == 0


def _serve(module: str, arguments: list[str]) -> None:
    main = importlib.import_module(module).main
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    pids = []
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _live(main, arguments)
        pids.append(pid)
        print(pid, flush=True)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _live(main: object, arguments: list[str]) -> None:
    assert callable(main)
    os.close(0)
    os.dup2(2, 1)
    try:
        result = main(*arguments)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except BaseException:  # noqa: BLE001  # the fork must not become a second nursery
        traceback.print_exc()
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
