"""An airline's customer service: `--agents examples.airline` finds the agent here."""

from examples.airline.agent import airline

__all__ = ["airline"]
