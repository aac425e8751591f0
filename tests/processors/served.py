"""A chDB store as other processes reach a ClickHouse server: by a URL. No test."""

from urllib.parse import quote

from ledgent.processors.store import Store


def server_url(store: Store, *, password: str | None = None, port: int | None = None) -> str:
    """Where this process serves the store that it owns."""
    owner = store.owner
    assert owner is not None
    key = quote(owner.password if password is None else password, safe="")
    return f"clickhouse://{owner.user}:{key}@{owner.host}:{port or owner.port}/{store.database}"
