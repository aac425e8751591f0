"""The ids that this side of the boundary makes: runs, requests, writers. Nothing else."""

import socket

from uuid_utils import uuid7


def new_run_id() -> str:
    """A UUIDv7: sorts by time."""
    return str(uuid7())


def new_request_id() -> str:
    return str(uuid7())


def new_writer() -> str:
    """A name for this process start in records; the host's name is there for people."""
    return f"{socket.gethostname()[:32]}/{uuid7()}"
