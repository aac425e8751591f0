"""The tool by which a model asks the user something in mid-run. It is never called: the run sleeps until the answer."""

from ledgent.agent.tools.function import InvalidArguments, make_tool
from ledgent.schemas.errors import ToolError
from ledgent.schemas.events import QuestionAsked
from ledgent.schemas.values import ToolRequest


def _ask_user(question: str, choices: list[str] | None = None) -> str:
    """Ask the user a question, and wait for the answer. Use it when only the user can say how to go on.

    Args:
        question: What to ask, in one or two sentences.
        choices: The possible answers, where there are few.
    """
    raise ToolError("This question can only be asked in a run.")


ask_user = make_tool(_ask_user, name="ask_user", asks=True)
"""In an agent's tools: a call of it asks the user, and the answer is what the model is told."""


def question_in(request: ToolRequest) -> QuestionAsked | None:
    """What the call asks; None where its arguments are not valid."""
    try:
        arguments = ask_user.parse(request.arguments)
    except InvalidArguments:
        return None
    return QuestionAsked(
        call_id=request.call_id, question=arguments["question"], choices=tuple(arguments["choices"] or ())
    )
