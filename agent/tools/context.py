"""What a tool may know of the call that it serves, and say of it while it is at work. No log, no state."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ToolContext:
    """The call that a tool serves; injected into a parameter annotated with this class."""

    run_id: str
    call_id: str
    idempotency_key: str
    """The same for every attempt of this call: hand it to services that take one."""
    on_progress: Callable[[str], None] | None = field(default=None, compare=False, repr=False)
    """Takes reports; may be called in any thread."""
    given_up: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    """Set once nobody waits for this call any more; a thread may wait for it."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more, since the time is up or the run stops: a long tool looks, and leaves early."""
        return self.given_up.is_set()

    def progress(self, done: str | float) -> None:
        """Reports how far the call is, in words or as a fraction; provisional: for subscribers, never in the log."""
        if self.on_progress is not None and not self.cancelled:
            self.on_progress(done if isinstance(done, str) else f"{done:.0%}")
