"""What is said by people and asked of them about a run's calls. No position, no clock, no logic."""

from typing import Literal

from ledgent.schemas.frozen import Event


class ApprovalRequested(Event):
    """A call is not made until a person allows it."""

    type: Literal["approval.requested"] = "approval.requested"
    call_id: str
    name: str
    arguments: str


class ApprovalGranted(Event):
    type: Literal["approval.granted"] = "approval.granted"
    request_id: str
    call_id: str
    by: str = ""
    """Who, as they say."""


class ApprovalDenied(Event):
    type: Literal["approval.denied"] = "approval.denied"
    request_id: str
    call_id: str
    by: str = ""
    message: str
    """What the model is told."""


class QuestionAsked(Event):
    """A call asks the user something; the answer is its result."""

    type: Literal["question.asked"] = "question.asked"
    call_id: str
    question: str
    choices: tuple[str, ...] = ()
    """The answers there are; empty: any text."""


class QuestionAnswered(Event):
    type: Literal["question.answered"] = "question.answered"
    request_id: str
    call_id: str
    text: str
    """What the model is told."""
    by: str = ""
    """Who, as they say."""
