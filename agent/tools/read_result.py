"""A tool that reads on in the results of other tools that were too long to be told whole. Nothing else."""

from typing import Annotated

from pydantic import Field

from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import tool

MOST_CHARACTERS = 40_000
"""Of one piece: however its characters are escaped, it is not cut again."""


@tool(idempotent=True)
def read_result(
    call_id: str,
    context: ToolContext,
    offset: Annotated[int, Field(ge=0)] = 0,
    limit: Annotated[int, Field(ge=1, le=MOST_CHARACTERS)] = 20_000,
) -> str:
    """Reads a piece of an earlier tool result that was cut because it was too long.

    Args:
        call_id: The id of the call, as the note at the end of the cut result names it.
        offset: The first character to read, from 0.
        limit: How many characters to read.
    """
    text = context.whole_result(call_id)
    piece = text[offset : offset + limit]
    end = offset + len(piece)
    further = f"offset={end} reads on" if end < len(text) else "this is the end"
    return f"{piece}\n[characters {offset:,} to {end:,} of {len(text):,}; {further}]"
