"""What is done after a call has failed, by the code of its error: a table, and its drawing. Data only; agent/resilience
goes by it. An agent may have rows of its own."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from ledgent.schemas.errors import ErrorCode
from ledgent.schemas.frozen import Frozen

Again = Literal["never", "at_once", "backoff", "longer", "shorter", "if_last"]
"""Whether the same call is made again, while attempts are left.

`backoff`: after a pause, as long as the other side asked for, else drawn from [0, a bound that doubles]. `longer`: the
same, and the next attempt has more time. `shorter`: with less to send, as the agent's `context` says. `if_last`: as
`backoff`, but only where no fallback is left to be asked.
"""

Then = Literal["stop", "fall_back"]
"""When it is not made again. `fall_back`: the next of the agent's models is asked; without one the run fails."""

Scope = Literal["request", "service", "account", "process"]
"""What else such a failure hits. `service`: whatever goes to the same model or tool, so that its circuit counts it."""


class Recovery(Frozen):
    """A row of an agent's own: what is done after model calls that failed with the code, whatever the adapter says."""

    code: ErrorCode
    again: Again
    then: Then = "stop"


class Row(NamedTuple):
    """A row of the table. A failure that its adapter calls hopeless (not `retryable`) is not tried again anyway."""

    scope: Scope
    again: Again
    then: Then
    remedy: str
    """What a person can do. Commands and code stand between backquotes."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.again not in ("never", "shorter")


TABLE: Mapping[ErrorCode, Row] = {
    ErrorCode.RATE_LIMITED: Row(
        "account",
        "backoff",
        "fall_back",
        "The provider kept refusing. Wait and start the run again, or allow more attempts with the model's "
        "`retry=RetryPolicy(attempts=...)`.",
    ),
    ErrorCode.QUOTA_EXHAUSTED: Row(
        "account",
        "never",
        "fall_back",
        "The account has no quota left. Add to it at the provider, then start the run again.",
    ),
    ErrorCode.CONTEXT_OVERFLOW: Row(
        "request",
        "shorter",
        "stop",
        "The conversation no longer fits the model. Let the agent sum up what is old, with "
        "`Agent(context=Summarize())`; if it does, make the instructions and the user's messages shorter, or take a "
        "model with a larger window.",
    ),
    ErrorCode.TIMEOUT: Row(
        "service",
        "longer",
        "fall_back",
        "Nothing came within the time allowed. Raise the model's or the tool's `timeout_s`, or try again later.",
    ),
    ErrorCode.CONNECTION: Row(
        "service",
        "backoff",
        "fall_back",
        "The provider was not reached. Check the network and OPENAI_BASE_URL, then start the run again.",
    ),
    ErrorCode.SERVER_ERROR: Row(
        "service", "backoff", "fall_back", "The provider had a fault of its own. Start the run again later."
    ),
    ErrorCode.AUTH: Row(
        "account",
        "never",
        "fall_back",
        "The provider refused the credentials. Set a valid key with `export OPENAI_API_KEY=...`, then start the run "
        "again.",
    ),
    ErrorCode.INVALID_REQUEST: Row(
        "request",
        "never",
        "stop",
        "The provider refused the request as it was. Its message says why; check the model's name and parameters.",
    ),
    ErrorCode.CONTENT_FILTERED: Row(
        "request",
        "never",
        "fall_back",
        "The provider withheld the answer. Look at the messages in the conversation.",
    ),
    ErrorCode.MALFORMED_RESPONSE: Row(
        "request",
        "backoff",
        "fall_back",
        "The answer could not be read. Start the run again; if it stays, check that OPENAI_BASE_URL speaks the OpenAI "
        "protocol.",
    ),
    ErrorCode.INVALID_OUTPUT: Row(
        "request",
        "never",
        "stop",
        "The model does not keep to the agent's output type. See in the timeline why its answers were sent back; "
        "simplify the type, or take another model.",
    ),
    ErrorCode.TOOL_ERROR: Row("service", "backoff", "stop", "A tool failed. Its error is in the timeline."),
    ErrorCode.UNKNOWN_AGENT: Row(
        "process",
        "never",
        "stop",
        "No worker knows this agent. Start one that does: `ledgent worker --agents your.module`.",
    ),
    ErrorCode.CANCELLED: Row("request", "never", "stop", "It was stopped. Start the run again if that was not meant."),
    ErrorCode.INTERRUPTED: Row(
        "process", "at_once", "stop", "The process that worked on it went away. Start the run again."
    ),
    ErrorCode.UNCERTAIN: Row(
        "process",
        "never",
        "stop",
        "A tool's process went away during a call, and the agent is to stop then (`on_uncertain`). Look where the tool "
        "acts whether it happened, then start the run again or do the rest by hand.",
    ),
    ErrorCode.MISSING_FILE: Row(
        "process",
        "never",
        "stop",
        "Every worker needs the same LEDGENT_BLOBS, the directory of files: `ledgent doctor`.",
    ),
    ErrorCode.TOO_LARGE: Row(
        "request", "never", "stop", "A record would have been too large. Pass large data by reference."
    ),
    ErrorCode.CIRCUIT_OPEN: Row(
        "request",
        "if_last",
        "fall_back",
        "Too many calls had failed, so that no more were made for a while. See why they failed; start the run again "
        "once the service works.",
    ),
    ErrorCode.INTERNAL: Row(
        "process", "never", "stop", "A defect in code that ran. The message names it; the timeline shows where."
    ),
}
assert TABLE.keys() == set(ErrorCode), "every code needs a row"

RETRYABLE = frozenset(code for code, row in TABLE.items() if row.retryable)
"""The codes of failures that may pass by themselves."""


def recovery_of(code: ErrorCode, own: Iterable[Recovery] = ()) -> Recovery:
    """The agent's own row for the code, or the table's."""
    found = next((row for row in own if row.code is code), None)
    return found or Recovery(code=code, again=TABLE[code].again, then=TABLE[code].then)


_AGAIN = {
    "never": "no",
    "at_once": "at once",
    "backoff": "after a pause",
    "longer": "after a pause, with more time",
    "shorter": "with less, as the agent's `context` says",
    "if_last": "after a pause, if no fallback is left",
}
_THEN = {"stop": "the run fails", "fall_back": "next model, else the run fails"}


def table_in_markdown() -> str:
    """The table for docs/resilience.md."""
    lines = ["| code | hits | made again | then | what a person can do |", "|---|---|---|---|---|"]
    lines += [
        f"| `{code}` | {row.scope} | {_AGAIN[row.again]} | {_THEN[row.then]} | {row.remedy} |"
        for code, row in TABLE.items()
    ]
    return "\n".join(lines) + "\n"
