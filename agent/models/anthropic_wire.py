"""How a request in the Anthropic messages format is addressed: address, key and version. The wire does the sending."""

import httpx2

from ledgent.agent.models.anthropic_errors import ERRORS
from ledgent.agent.models.http_wire import Service

VERSION = "2023-06-01"
"""Of the format (https://platform.claude.com/docs/en/api/versioning)."""


def _endpoint(path: str) -> str:
    """With or without the version at the address's end: people write it both ways."""
    return f"{path.removesuffix('/v1')}/v1/messages"


def _headers(key: str, _address: httpx2.URL) -> dict[str, str]:
    return {
        "accept": "application/json",
        "anthropic-version": VERSION,
        "content-type": "application/json",
        "user-agent": "ledgent",
        "x-api-key": key,
    }


ANTHROPIC = Service(address="https://api.anthropic.com", endpoint=_endpoint, headers=_headers, errors=ERRORS)
