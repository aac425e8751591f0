"""Which records the airline has, and where those of the demo are."""

from pathlib import Path

from examples.customer_service.records import RunRecords

RECORDS = RunRecords(
    trade="airline",
    called="airline",
    demo=Path(__file__).parent / "demo",
    collections=("flights", "reservations", "users"),
)
