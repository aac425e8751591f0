"""How a run keeps its requests within the model's window, as an agent's spec freezes it. Data only.

agent/context.py decides by it. Whatever is no longer sent to the model stays in the log and in the state's messages.
"""

from typing import Literal

from pydantic import Field

from ledgent.schemas.frozen import Frozen


class Trim(Frozen):
    """Before a request grows too long, the oldest messages are no longer sent, other than the user's first.

    Tool calls go together with their results. A single result too long for the window is sent without its middle.
    """

    type: Literal["trim"] = "trim"
    at: float = Field(default=0.8, gt=0, lt=1)
    """The share of the window that a request may take."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Of what the messages may take until then, the share that is still sent: the newest."""


class Summarize(Frozen):
    """As `Trim`, but the model sums up what is no longer sent, and the summary is sent in its place.

    The summary is a model call of the run: its tokens and cost count, as a step it does not. Where it fails, or is no
    shorter than what it sums up, that is trimmed instead.
    """

    type: Literal["summarize"] = "summarize"
    at: float = Field(default=0.8, gt=0, lt=1)
    """The share of the window that a request may take."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Of what the messages may take until then, the share that is still sent as it is: the newest."""
    instructions: str = ""
    """What the model is told of how to sum up, in place of the usual words."""
