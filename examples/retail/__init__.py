"""A shop's customer service: `--agents examples.retail` finds the agent here."""

from examples.retail.agent import retail

__all__ = ["retail"]
