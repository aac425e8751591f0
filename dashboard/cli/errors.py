"""What an error means to whoever typed the command: one line, and an exit code."""

import typer

from ledgent.schemas.errors import LedgentError


def explained(error: Exception) -> tuple[str, int]:
    """What to say, and the exit code."""
    if isinstance(error, LedgentError):
        return f"ledgent: {_line(str(error))}", error.exit_code
    if isinstance(error, typer.TyperException):
        return _usage(error), error.exit_code
    if isinstance(error, typer.Abort):
        return "ledgent: stopped", 130
    return (
        f"ledgent: a defect: {type(error).__name__}: {_line(str(error))} "
        "(run it again with LEDGENT_DEBUG=1 for the traceback, and report it)"
    ), 1


def _usage(error: typer.TyperException) -> str:
    text = error.format_message()
    if "\n" in text:
        return text  # the help of a command that was given nothing
    text = text.replace("Value error, ", "")
    # What the parser knows of the error is on classes of it that typer does not export.
    possible = getattr(error, "possibilities", None)
    if possible:
        text = f"{error.message}. Did you mean {' or '.join(sorted(possible))}?"
    context = getattr(error, "ctx", None)
    asked = f" (`{context.command_path} --help` explains)" if context is not None else ""
    return f"ledgent: {text[:1].lower()}{_line(text[1:])}{asked}"


def _line(text: str) -> str:
    return " ".join(text.split())
