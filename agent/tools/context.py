"""What a tool may know of the call that it serves, and say of it while it is at work. No log, no state."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ledgent.agent.tools.results import Wholes
from ledgent.schemas.errors import ToolError
from ledgent.schemas.events import AnyEvent, CheckpointSaved
from ledgent.schemas.requests import checkpoint_name


@dataclass(frozen=True)
class ToolContext:
    """The call that a tool serves; injected into a parameter annotated with this class."""

    run_id: str
    call_id: str
    idempotency_key: str
    """The same for every attempt of this call: hand it to services that take one."""
    attempt: int = 1
    """Which attempt of the call this is."""
    on_progress: Callable[[str], None] | None = field(default=None, compare=False, repr=False)
    """Takes reports; may be called in any thread."""
    on_event: Callable[[AnyEvent], None] | None = field(default=None, compare=False, repr=False)
    """Takes what is to be recorded before the call's outcome; may be called in any thread."""
    given_up: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    """Set once nobody waits for this call any more; a thread may wait for it."""

    wholes: Wholes | None = field(default=None, compare=False, repr=False)
    """The results of this run that were cut."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more, since the time is up or the run stops: a long tool looks, and leaves early."""
        return self.given_up.is_set()

    def checkpoint(self, name: str) -> None:
        """Gives this point of the run a name to restore it at, once the calls of this answer have settled.

        It is in the log before this call's outcome is; nothing happens once nobody waits. Raises UsageError for a name
        that is none.
        """
        checkpoint_name(name)
        self.record(CheckpointSaved(name=name, call_id=self.call_id))

    def record(self, event: AnyEvent) -> None:
        """Has what this call did recorded, before its outcome; nothing once nobody waits. For ledgent's own tools."""
        if self.on_event is not None and not self.cancelled:
            self.on_event(event)

    def progress(self, done: str | float) -> None:
        """Reports how far the call is, in words or as a fraction; provisional: for subscribers, never in the log."""
        if self.on_progress is not None and not self.cancelled:
            self.on_progress(done if isinstance(done, str) else f"{done:.0%}")

    def whole_result(self, call_id: str) -> str:
        """The whole result of an earlier call of this run that the model was told only the beginning of.

        Raises ToolError where there is none, or it cannot be read.
        """
        if self.wholes is None:
            raise ToolError(f"No result of a call {call_id!r} was cut.")
        return self.wholes.text(call_id)
