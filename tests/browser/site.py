"""The dashboard as people have it: a store with its owner and sink, a process with the pages, a real browser."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Playwright, Request, expect

from ledgent.dashboard.web import streamlit_arguments
from ledgent.processors.sink import Sink
from ledgent.processors.store import open_store
from ledgent.producers.opening import open_log
from ledgent.schemas.codec import Stored
from ledgent.schemas.ports import Positioned

T = TypeVar("T")

PATIENCE_S = 30.0
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Town:
    """A log, and a store that follows it; owned by this process while it is open."""

    def __init__(self, folder: Path) -> None:
        self.store_url = f"chdb:///{folder / 'store'}"
        self.log = open_log(f"sqlite:///{folder / 'log.db'}")
        self._thread = ThreadPoolExecutor(1)
        self._foreign = 1_000_000_000
        self.open()

    def open(self) -> None:
        self.store = open_store(self.store_url, stay=True)
        self._stop = threading.Event()
        self._following = threading.Thread(target=Sink(self.log, self.store).follow, args=(self._stop,))
        self._following.start()

    def close(self) -> None:
        self._stop.set()
        self._following.join()
        self.store.close()

    def leave(self) -> None:
        self.close()
        self.log.close()
        self._thread.shutdown()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begins it in a thread with an event loop of its own: playwright has one in this thread."""
        return self._thread.submit(asyncio.run, work)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result()

    def put(self, records: list[Stored]) -> None:
        """Puts records into the store as from another partition; also such as the log would refuse."""
        placed = [Positioned(1, self._foreign + n, stored) for n, stored in enumerate(records)]
        self._foreign += len(placed)
        Sink(self.log, self.store).write(placed)


class Site:
    """The pages at an address, with the process that serves them."""

    def __init__(self, store_url: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        self._output = (folder / f"streamlit-{port}.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", *streamlit_arguments(port)],
            cwd=folder,
            env={**os.environ, "LEDGENT_STORE": store_url},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def ready(self) -> None:
        until(self._answers, "the pages to be served")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.output()
        try:
            with urllib.request.urlopen(f"{self.address}_stcore/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def output(self) -> str:
        self._output.flush()
        self._output.seek(0)
        return self._output.read()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._output.close()


class Visitor:
    """A page in the browser that watches over itself: where it asks, and what goes wrong in it."""

    def __init__(self, browser: Browser, address: str, pictures: Path, scheme: str = "light") -> None:
        self.address = address
        self._pictures = pictures
        self._context = browser.new_context(
            viewport={"width": 1400, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            accept_downloads=True,
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1_000)
        self.asked: list[str] = []
        self.failures: list[str] = []
        self._context.on("request", self._note)
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.failures.append("a dialog"), dialog.dismiss())[0])

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def visit(self, query: str = "") -> None:
        self.page.goto(self.address + query)

    def sees(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_S * 1_000)

    def settles(self) -> None:
        """Waits until the page has caught up with what was done to it."""
        self.page.wait_for_timeout(300)
        expect(self.page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")

    def is_at(self, **params: str | None) -> None:
        """Waits until the URL's query has these values; None: the name is not in it."""
        for name, value in params.items():
            pattern = rf"[?&]{name}={re.escape(value)}(&|$)" if value is not None else rf"^(?!.*[?&]{name}=)"
            self.page.wait_for_url(re.compile(pattern))

    def rows(self) -> Locator:
        return self.page.locator("tbody tr")

    def picture(self, name: str) -> Path:
        self.settles()
        path = self._pictures / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def leave(self) -> None:
        """Closes the page. Fails if it asked anybody but its own server, or if a script failed in it."""
        self._context.close()
        own = urlsplit(self.address).netloc
        foreign = [
            url for url in self.asked if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own
        ]
        assert foreign == []
        assert self.failures == []


@contextmanager
def browser_at(playwright: Playwright, chromium: Path) -> Iterator[Browser]:
    """The browser."""
    browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
    yield browser
    browser.close()


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for it."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
