"""How the openai SDK would send a request: its key, organisation, address and headers. The wire does the sending."""

import httpx2
import openai
from openai import AsyncOpenAI

from ledgent.agent.models.http_wire import Service, tls
from ledgent.agent.models.openai_errors import ERRORS
from ledgent.agent.models.port import ModelFailure
from ledgent.schemas.errors import ErrorCode, ErrorInfo


def _headers(key: str, address: httpx2.URL) -> dict[str, str]:
    """What the SDK sends with each request, less what it tells of this machine. Raises ModelFailure."""
    unused = httpx2.AsyncClient(verify=tls(), trust_env=False)  # else the SDK makes its own, and its certificates
    try:
        client = AsyncOpenAI(api_key=key, base_url=address, max_retries=0, http_client=unused)
        given = {**client.default_headers, **client.auth_headers}
    except openai.OpenAIError as error:
        raise ModelFailure(ErrorInfo(code=ErrorCode.INVALID_REQUEST, message=str(error))) from None
    kept = {name: value for name, value in given.items() if not name.lower().startswith("x-stainless-")}
    return {name: value for name, value in kept.items() if isinstance(value, str)}


OPENAI = Service(
    address="https://api.openai.com/v1",
    endpoint=lambda path: path + "/chat/completions",
    headers=_headers,
    errors=ERRORS,
)
