import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledgent.agent import ToolError
from ledgent.agent.tools.function import InvalidArguments
from tests.examples.airline_desk import (
    ADA,
    CARD,
    CERTIFICATE,
    DIRECT,
    GIFT_CARD,
    GONE,
    KEPT,
    SMALL_GIFT_CARD,
    TO_DEN,
    TO_ORD,
    Desk,
    bags,
    booking,
    change,
)

REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
    ("get_user_details", "user not found", {"user_id": "nobody"}),
    ("get_reservation_details", "reservation not found", {"reservation_id": "DEMO09"}),
    ("cancel_reservation", "reservation not found", {"reservation_id": "DEMO09"}),
    ("send_certificate", "user not found", {"user_id": "nobody", "amount": 1}),
    ("book_reservation", "user not found", booking((CARD, 225), user_id="nobody")),
    ("book_reservation", "flight LG999 not found", booking(flights=[DIRECT | {"flight_number": "LG999"}])),
    ("book_reservation", "flight LG101 not available on date 2024-05-14", booking(flights=[TO_DEN, GONE])),
    ("book_reservation", "not enough seats on flight LG407", booking(flights=[DIRECT], passengers=[ADA] * 7)),
    ("book_reservation", "payment method gift_card_0 not found", booking((CARD, 200), ("gift_card_0", 25))),
    ("book_reservation", f"not enough balance in payment method {GIFT_CARD}", booking((GIFT_CARD, 225))),
    ("book_reservation", f"not enough balance in payment method {CERTIFICATE}", booking((CERTIFICATE, 151))),
    (
        "book_reservation",
        f"not enough balance in payment method {GIFT_CARD}",
        booking((GIFT_CARD, 100), (GIFT_CARD, 100), (CARD, 25)),
    ),
    (
        "book_reservation",
        "payment amount does not add up, total price is 225, but paid 224.5",
        booking((GIFT_CARD, 100), (CARD, 124.5)),
    ),
    (
        "book_reservation",
        "payment amount does not add up, total price is 225, but paid 226",
        booking((CARD, 226)),
    ),
    ("update_reservation_flights", "reservation not found", change(CARD, DIRECT, of="DEMO09")),
    ("update_reservation_flights", "flight LG0 not found", change(CARD, DIRECT | {"flight_number": "LG0"})),
    ("update_reservation_flights", "flight LG101 not available on date 2024-05-14", change("gift_card_0", GONE)),
    (
        "update_reservation_flights",
        "not enough seats on flight LG407",
        change("gift_card_0", DIRECT | {"date": "2024-05-17"}, cabin="basic_economy"),
    ),
    ("update_reservation_flights", "payment method not found", change("gift_card_0", DIRECT, KEPT)),
    (
        "update_reservation_flights",
        "certificate cannot be used to update reservation",
        change(CERTIFICATE, DIRECT, KEPT),
    ),
    ("update_reservation_flights", "gift card balance is not enough", change(SMALL_GIFT_CARD, TO_ORD, TO_DEN, KEPT)),
    ("update_reservation_baggages", "payment method not found", bags(3, 1, "gift_card_7730352")),
    ("update_reservation_baggages", "certificate cannot be used to update reservation", bags(3, 1, CERTIFICATE)),
    ("update_reservation_baggages", "gift card balance is not enough", bags(4, 2, SMALL_GIFT_CARD)),
    (
        "update_reservation_passengers",
        "number of passengers does not match",
        {"reservation_id": "DEMO01", "passengers": [ADA]},
    ),
]


@pytest.mark.parametrize(("name", "text", "arguments"), REFUSALS)
async def test_a_refusal_says_why_and_changes_nothing(
    desk: Desk, name: str, text: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ToolError) as refusal:
        await desk.ask(name, **arguments)
    assert str(refusal.value) == f"Error: {text}"
    assert desk.changed() == {}


def test_every_refusal_that_was_observed_is_one_of_these(recorded_data: Path) -> None:
    folder = recorded_data / "tau" / "env" / "airline"
    observed = json.loads((folder / "observed_behaviour.json").read_text(encoding="utf-8"))["observed"]
    texts = [(tool, text) for tool, seen in observed.items() for text in seen["error_answers"]]
    assert texts
    for tool, text in texts:
        pattern = re.sub(r"<\w+>", r"\\S+", re.escape(text))
        assert any(name == tool and re.fullmatch(pattern, f"Error: {ours}") for name, ours, _ in REFUSALS), text


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("cancel_reservation", {}, "reservation_id: Field required"),
        ("book_reservation", booking(flights=[{"flight_number": "LG407"}]), "flights.0.date: Field required"),
        ("book_reservation", booking(passengers=["Ada"]), "passengers.0: Input should be an object"),
        ("book_reservation", booking(cabin="first"), "cabin: Input should be 'basic_economy', 'economy' or 'business'"),
        ("send_certificate", {"user_id": "x", "amount": "200"}, "amount: Input should be a valid number"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_before_the_airline_sees_them(
    desk: Desk, name: str, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidArguments, match=problem):
        await desk.ask(name, **arguments)
