"""Which records the shop has, and where those of the demo are."""

from pathlib import Path

from examples.customer_service.records import RunRecords

RECORDS = RunRecords(
    trade="retail",
    called="shop",
    demo=Path(__file__).parent / "shop",
    collections=("orders", "products", "users"),
)
