"""Who may write a run: the one rule that worker, logs, store and tables judge records by. Pure.

A record is accepted iff its digest continues the chain, its seq is the next one, and it is either `run.claimed` with
the next epoch, or by the current epoch and writer. After a terminal event nothing more is accepted.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from ledgent.schemas.codec import GENESIS, Envelope, Stored, digest_of
from ledgent.schemas.events import TERMINAL_TYPES


class Guard(NamedTuple):
    """What has been accepted of a run: enough to judge its next record."""

    epoch: int = 0
    writer: str = ""
    seq: int = 0
    digest: str = GENESIS
    ended: bool = False


class Verdict(StrEnum):
    """What every reader alike makes of a record."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It repeats an accepted record: skipped."""
    FENCED = "fenced"
    """Its writer does not hold the run, or it is out of place: skipped, counted, shown."""
    BROKEN = "broken"
    """The holder's next record, but its digest is wrong: raises an alert."""


# In Python 3.11 looking a member up in its class costs 0.1 us, which folds feel.
ACCEPTED, DUPLICATE, FENCED, BROKEN = Verdict


def nothing_known(seq: int) -> str | None:
    """For `judge`, where no digests of earlier records are at hand."""
    return None


def judge(
    guard: Guard, envelope: Envelope, stored: Stored, known: Callable[[int], str | None] = nothing_known
) -> Verdict:
    """The verdict on a run's next record; `known` gives the digest accepted at an earlier seq, where it is at hand."""
    claims = envelope.type == "run.claimed"
    if claims:
        holds = envelope.epoch == guard.epoch + 1
    else:
        holds = envelope.epoch == guard.epoch and envelope.writer == guard.writer
    if holds and envelope.seq == guard.seq + 1 and not guard.ended:
        if envelope.previous == guard.digest and stored.digest == digest_of(guard.digest, stored.body):
            return ACCEPTED
        # A claim that lost a race was built on an older head; a holder's own record never is.
        lost = claims and envelope.previous != guard.digest
        return FENCED if lost else BROKEN
    if envelope.seq > guard.seq:
        return FENCED
    accepted = guard.digest if envelope.seq == guard.seq else known(envelope.seq)
    return DUPLICATE if accepted == stored.digest else FENCED


def advance(envelope: Envelope, digest: str) -> Guard:
    """The guard after an accepted record."""
    return Guard(envelope.epoch, envelope.writer, envelope.seq, digest, envelope.type in TERMINAL_TYPES)
