"""The demo airline, spoken to as a model does, and what a traveller may ask of it."""

import json
from typing import Any

from examples.airline import airline, lookups
from examples.airline.database import RECORDS
from ledgent.agent import ToolContext

ADA, BEN = ({"first_name": name, "last_name": "Wessel", "dob": "1983-09-14"} for name in ("Ada", "Ben"))
CARD, GIFT_CARD, SMALL_GIFT_CARD = "credit_card_2204117", "gift_card_2204131", "gift_card_2204148"
CERTIFICATE = "certificate_2204155"
DIRECT = {"flight_number": "LG407", "date": "2024-05-16"}
TO_ORD, TO_DEN = {"flight_number": "LG101", "date": "2024-05-16"}, {"flight_number": "LG203", "date": "2024-05-16"}
KEPT, OTHER = {"flight_number": "LG305", "date": "2024-05-17"}, {"flight_number": "LG305", "date": "2024-05-18"}
GONE = {"flight_number": "LG101", "date": "2024-05-14"}


class Desk:
    """One run's airline, spoken to as a model does."""

    def __init__(self) -> None:
        self.calls = 0

    async def ask(self, name: str, /, **arguments: Any) -> Any:
        """The answer, read where it is JSON. Raises ToolError, InvalidArguments."""
        text = await self.text(name, **arguments)
        return json.loads(text) if text[:1] in ("{", "[") else text

    async def text(self, name: str, /, **arguments: Any) -> str:
        tool = airline.tool(name)
        assert tool is not None
        self.calls += 1
        context = ToolContext("run-1", f"t{self.calls}", f"run-1/t{self.calls}")
        return (await tool.call(tool.parse(json.dumps(arguments)), context)).text

    def user(self) -> Any:
        return lookups.user(RECORDS.read("run-1"), "ada_wessel_2204")

    def changed(self) -> Any:
        return RECORDS.read("run-1").changed


def booking(*payments: tuple[str, float], **other: Any) -> dict[str, Any]:
    """From Boston to Denver by Chicago for Ada: 118 and 107 dollars in economy."""
    methods = [{"payment_id": payment_id, "amount": amount} for payment_id, amount in payments]
    wanted: dict[str, Any] = {
        "user_id": "ada_wessel_2204",
        "origin": "BOS",
        "destination": "DEN",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": [TO_ORD, TO_DEN],
        "passengers": [ADA],
        "payment_methods": methods,
        "total_baggages": 0,
        "nonfree_baggages": 0,
        "insurance": "no",
    }
    return wanted | other


def change(payment_id: str, *flights: dict[str, Any], cabin: str = "economy", of: str = "DEMO01") -> dict[str, Any]:
    return {"reservation_id": of, "cabin": cabin, "flights": list(flights), "payment_id": payment_id}


def bags(total: int, nonfree: int, payment_id: str) -> dict[str, Any]:
    return {
        "reservation_id": "DEMO01",
        "total_baggages": total,
        "nonfree_baggages": nonfree,
        "payment_id": payment_id,
    }
