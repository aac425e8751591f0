"""Who acts: the agent, its decisions, its worker, models and tools. Never imports the processors room."""

from ledgent.agent.entries import Agent
from ledgent.agent.faults import Faults
from ledgent.agent.memory import Memory
from ledgent.agent.models.anthropic import AnthropicModel
from ledgent.agent.models.openai import OpenAIModel
from ledgent.agent.models.port import Delta
from ledgent.agent.models.scripted import Attempts, Call, Fail, Reply, ScriptedModel
from ledgent.agent.running import RunResult
from ledgent.agent.sqlite_memory import SqliteMemory
from ledgent.agent.terminators import when
from ledgent.agent.tools.asking import ask_user
from ledgent.agent.tools.context import ToolContext
from ledgent.agent.tools.function import Tool, tool
from ledgent.agent.tools.mcp import mcp_tools
from ledgent.agent.tools.read_result import read_result
from ledgent.agent.tools.toolkit import Toolkit
from ledgent.producers.files import File, Image
from ledgent.schemas.agents import CircuitPolicy, Limits, RetryPolicy, Timeouts
from ledgent.schemas.context import Summarize, Trim
from ledgent.schemas.errors import ToolError
from ledgent.schemas.recovery import Recovery
from ledgent.schemas.terminators import AllOf, AnyOf, CostBudget, Deadline, StopWords, TokenBudget

__all__ = [
    "Agent",
    "AllOf",
    "AnthropicModel",
    "AnyOf",
    "Attempts",
    "Call",
    "CircuitPolicy",
    "CostBudget",
    "Deadline",
    "Delta",
    "Fail",
    "Faults",
    "File",
    "Image",
    "Limits",
    "Memory",
    "OpenAIModel",
    "Recovery",
    "Reply",
    "RetryPolicy",
    "RunResult",
    "ScriptedModel",
    "SqliteMemory",
    "StopWords",
    "Summarize",
    "Timeouts",
    "TokenBudget",
    "Tool",
    "ToolContext",
    "ToolError",
    "Toolkit",
    "Trim",
    "ask_user",
    "mcp_tools",
    "read_result",
    "tool",
    "when",
]
