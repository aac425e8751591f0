"""The ClickHouse HTTP interface in plain values: from requests to statements, from errors to statuses. Pure."""

import hmac
import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping

from ledgent.processors.clickhouse.engine import Result, Statement
from ledgent.schemas.errors import StoreQueryRefused

AUTHENTICATION_FAILED = 516
NOT_IMPLEMENTED = 48

# What a parameter of the URL may be besides a setting. A session, like a server's, would keep settings and
# temporary tables between requests; here every request stands alone, and the id of one is accepted for nothing.
_NOT_SETTINGS = frozenset({
    "buffer_size", "client_protocol_version", "close_session", "compress", "database", "decompress",
    "default_format", "password", "query", "query_id", "quota_key", "role", "session_check", "session_id",
    "session_timeout", "stacktrace", "user", "wait_end_of_query",
})  # fmt: skip

_IDENTIFIER = rb"(?:`(?:[^`\\]|\\.)+`|\"(?:[^\"\\]|\\.)+\"|[A-Za-z_]\w*)"
_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?:TABLE\s+)?"
    + _IDENTIFIER
    + rb"(?:\s*\.\s*"
    + _IDENTIFIER
    + rb")?\s*(?:\((?:[^()`\"]|"
    + _IDENTIFIER
    + rb")*\))?\s*(?:SETTINGS\s+[\w\s=,.'-]+?)?\s*(?P<format>FORMAT\s+(?P<name>[A-Za-z]\w*))(?:[ \t]*\r?\n|[ \t]+|$)",
    re.IGNORECASE,
)
"""An INSERT whose rows follow its FORMAT clause, in the body or behind the statement."""

_STATUS_OF_CODE = {
    36: 400,  # bad arguments
    43: 400,  # illegal type of argument
    46: 404,  # unknown function
    47: 404,  # unknown identifier
    48: 501,  # not implemented
    53: 400,  # type mismatch
    60: 404,  # unknown table
    62: 400,  # syntax error
    81: 404,  # unknown database
    115: 404,  # unknown setting
    159: 408,  # timeout exceeded
    516: 403,  # authentication failed
}


def read_statement(parameters: Mapping[str, str], body: bytes, *, method: str) -> Statement:
    """The statement of a request. Raises StoreQueryRefused for what this door does not offer."""
    if {"compress", "decompress"} & {name for name, value in parameters.items() if value != "0"}:
        raise refused("compress and decompress are not supported; use Content-Encoding", NOT_IMPLEMENTED)
    sql, data_format, data = _split(parameters.get("query", "").encode(), body)
    settings = {
        name: value for name, value in parameters.items() if name not in _NOT_SETTINGS and not name.startswith("param_")
    }
    if method == "GET":
        settings.setdefault("readonly", "2")  # as on a server: a link must not change anything
    values = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
    if data is not None and values:
        raise refused("query parameters beside the rows of an INSERT", NOT_IMPLEMENTED)
    return Statement(
        sql=_text(sql),
        database=parameters.get("database", ""),
        result_format=parameters.get("default_format", "TabSeparated"),
        settings=settings,
        parameters=values,
        data_format=data_format,
        data=data,
    )


def _split(query: bytes, body: bytes) -> tuple[bytes, str, bytes | None]:
    """The SQL and, for an INSERT with rows, their format and bytes; a query in the URL comes before the body."""
    for sql, rest in ((query, body), (body, b"")) if query else ((body, b""),):
        insert = _INSERT.match(sql)
        if insert:
            rows = b"".join((sql[insert.end() :], rest))
            return sql[: insert.start("format")], insert["name"].decode(), rows
    return b"\n".join(part for part in (query, body) if part), "", None


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise refused("the statement is not UTF-8", 62) from error


def credentials(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    """The user and password that a request gives, in any of the three ways of ClickHouse."""
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except (Base64Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return parameters.get("user", ""), parameters.get("password", "")


def same(given: tuple[str, str], expected: tuple[str, str]) -> bool:
    """Whether user and password are the same, in a time that tells nothing about where they differ."""
    one, other = ("\0".join(pair).encode("utf-8", "surrogatepass") for pair in (given, expected))
    return hmac.compare_digest(one, other)


def refused(text: str, code: int) -> StoreQueryRefused:
    """A refusal in the engine's own words, made by this door."""
    return StoreQueryRefused(f"Code: {code}. DB::Exception: {text}.", code)


def status_of(code: int) -> int:
    """The HTTP status of a ClickHouse error code."""
    return _STATUS_OF_CODE.get(code, 500)


def summary(result: Result) -> str:
    """The value of X-ClickHouse-Summary."""
    return json.dumps({
        "read_rows": str(result.read_rows),
        "written_rows": str(result.written_rows),
        "written_bytes": str(result.written_bytes),
    })  # fmt: skip
