"""What every value that is said or stored has in common. Nothing else."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that never changes and takes no unknown field."""

    # JSON has no infinity: it would be written as null, and what was written could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Event(Frozen):
    """A payload: what happened."""

    version: ClassVar[int] = 1
    """Of the payload's shape."""
