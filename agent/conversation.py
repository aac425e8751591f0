"""A conversation held in the calling process: one run, several messages. No decisions."""

from collections.abc import Callable, Sequence
from os import PathLike
from types import TracebackType
from typing import Self

from ledgent.agent.applying import answer_to
from ledgent.agent.blocking import Background
from ledgent.agent.clock import SystemClock
from ledgent.agent.loop import RunLoop
from ledgent.agent.models.port import Delta
from ledgent.agent.running import RunResult, attended, blobs_at, check_priced, log_at, result_of, start_request
from ledgent.agent.spec import Definition
from ledgent.agent.writing import OnRecord
from ledgent.producers.files import File, kept_files
from ledgent.producers.identity import new_request_id
from ledgent.schemas.acceptance import Guard
from ledgent.schemas.agents import Limits
from ledgent.schemas.errors import LedgentError, RequestRefused, UsageError
from ledgent.schemas.ports import Blobs, Log
from ledgent.schemas.requests import AnyRequest, EndConversation, SendMessage, encode_request
from ledgent.schemas.state import RunState


class Conversation:
    """One run of a conversational agent. Leaving the block ends it; leaving by an exception does not.

    Between messages the run is suspended in the log, so any worker may take it up should this process die.
    """

    def __init__(
        self,
        agent: Definition,
        *,
        limits: Limits | None = None,
        session: str | None = None,
        labels: dict[str, str] | None = None,
        log: Log | str | None = None,
        on_record: OnRecord | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        blobs: Blobs | str | None = None,
    ) -> None:
        if not agent.conversational:
            raise UsageError(
                f"agent {agent.name} is not conversational: make it with conversational=True, or use run()"
            )
        check_priced(agent, limits)
        self._agent = agent
        self._log = log_at(log)
        self._blobs = blobs_at(blobs)
        self._options = (limits, session, labels)
        self._request = start_request(agent.name, None, *self._options)
        self._on_record = on_record
        self._on_delta = on_delta
        self._loop = self._new_loop()
        self._begun = False

    @property
    def run_id(self) -> str:
        """Of the present run; another one after each `reset`."""
        return self._request.run_id

    @property
    def state(self) -> RunState:
        return self._loop.state

    async def send(self, text: str, files: Sequence[str | PathLike[str] | File] = ()) -> RunResult:
        """The answer to a message. A run that a tool or a limit has ended says so in the result's status.

        Raises RequestRefused once the conversation has ended, RecordTooLarge; with files also as `Agent.run`.
        """
        if not isinstance(text, str):
            raise UsageError(f"a message is a text, not {type(text).__name__}")
        kept = await kept_files(files, self._blobs)
        if not self._begun:
            request = self._request.model_copy(update={"input": text, "files": kept})
            encode_request(request)
            self._loop = self._new_loop()
            self._loop.begin(request, accept=True)
            self._begun = True
            return await self._work()
        return await self._do(SendMessage(request_id=new_request_id(), run_id=self.run_id, text=text, files=kept))

    async def answer(self, text: str, *, call_id: str | None = None, by: str = "") -> RunResult:
        """What follows on the answer to its question; `call_id`: which, where several are asked.

        Raises RequestRefused for what answers none, RecordTooLarge.
        """
        return await self._do(answer_to(self.state, new_request_id(), text, call_id, by))

    async def end(self) -> RunResult:
        """Completes the run; its output is the last answer."""
        if not self._begun or self.state.ended:
            return result_of(self.state, self._agent)
        return await self._do(EndConversation(request_id=new_request_id(), run_id=self.run_id))

    async def reset(self) -> None:
        """Forgets what was said: the run ends, and the next message begins another one.

        They belong to one session, which bears the first run's id unless it was given a name.
        """
        await self.end()
        limits, session, labels = self._options
        self._options = (limits, session or self.run_id, labels)
        self._request = start_request(self._agent.name, None, *self._options)
        self._loop = self._new_loop()
        self._begun = False

    async def _do(self, request: AnyRequest) -> RunResult:
        if self.state.ended:
            raise RequestRefused(f"run {self.run_id} has ended ({self.state.status}): it takes no further message")
        encode_request(request)  # one that is too large is refused here, not in the middle of the run
        if self.state.suspended == "handed_over":  # an earlier message was given up while it was worked on
            self._loop.take_up()
        self._loop.accept(request)
        return await self._work()

    async def _work(self) -> RunResult:
        try:
            with attended(self._log, self._loop):
                return result_of(await self._loop.work(), self._agent)
        except LedgentError:
            await self._loop.let_go()
            raise

    def _new_loop(self) -> RunLoop:
        state = RunState(self.run_id)
        clock = SystemClock()
        return RunLoop(self._log, self._agent, state, Guard(), clock, self._on_record, self._on_delta, self._blobs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.end()


class SyncConversation:
    """A conversation for code that is not async; each of its methods waits for the other's."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._background = Background()

    @property
    def run_id(self) -> str:
        return self._conversation.run_id

    @property
    def state(self) -> RunState:
        return self._conversation.state

    def send(self, text: str, files: Sequence[str | PathLike[str] | File] = ()) -> RunResult:
        """As `Conversation.send`."""
        return self._background.wait(self._conversation.send(text, files))

    def answer(self, text: str, *, call_id: str | None = None, by: str = "") -> RunResult:
        """As `Conversation.answer`."""
        return self._background.wait(self._conversation.answer(text, call_id=call_id, by=by))

    def reset(self) -> None:
        """As `Conversation.reset`."""
        self._background.wait(self._conversation.reset())

    def end(self) -> RunResult:
        """As `Conversation.end`."""
        return self._background.wait(self._conversation.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.end()
        finally:
            self._background.close()
