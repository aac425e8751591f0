"""Which run the running code works for: for log lines, of ledgent and of tools. Nothing decides by it."""

from contextvars import ContextVar

RUN_ID: ContextVar[str] = ContextVar("RUN_ID", default="")
"""Empty outside of runs."""
