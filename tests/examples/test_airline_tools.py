import hashlib
import json
from typing import Any

from examples.airline import airline, bookings, lookups
from examples.airline.database import RECORDS
from examples.customer_service.records import Database
from ledgent.agent import Tool
from tests.examples.airline_desk import (
    ADA,
    BEN,
    CARD,
    CERTIFICATE,
    DIRECT,
    GIFT_CARD,
    KEPT,
    OTHER,
    SMALL_GIFT_CARD,
    TO_DEN,
    TO_ORD,
    Desk,
    bags,
    booking,
    change,
)


def test_the_demo_airline_agrees_with_itself() -> None:
    demo = Database(RECORDS.load(RECORDS.demo))
    for reservation_id, record in demo.items("reservations"):
        assert reservation_id in lookups.user(demo, record["user_id"])["reservations"]
        flights = [demo.find("flights", flight["flight_number"]) for flight in record["flights"]]
        stops = [record["flights"][0]["origin"], *[flight["destination"] for flight in flights if flight]]
        assert [flight["origin"] for flight in record["flights"]] == stops[:-1]
        extras = bookings.BAG_PRICE * record["nonfree_baggages"]
        extras += bookings.INSURANCE_PRICE * len(record["passengers"]) * (record["insurance"] == "yes")
        fares = len(record["passengers"]) * sum(flight["price"] for flight in record["flights"])
        assert sum(payment["amount"] for payment in record["payment_history"]) == fares + extras


async def test_airports_come_with_their_cities(desk: Desk) -> None:
    assert await desk.ask("list_all_airports") == {
        "BOS": "Boston",
        "DEN": "Denver",
        "ORD": "Chicago",
        "SEA": "Seattle",
    }


async def test_only_flights_that_can_be_booked_are_found(desk: Desk) -> None:
    (flight,) = await desk.ask("search_direct_flight", origin="BOS", destination="DEN", date="2024-05-16")
    assert list(flight) == [
        "flight_number",
        "origin",
        "destination",
        "scheduled_departure_time_est",
        "scheduled_arrival_time_est",
        "status",
        "available_seats",
        "prices",
    ]
    assert flight["prices"]["economy"] == 187
    for day in ("2024-05-14", "2024-05-15", "2024-06-01", "tomorrow"):
        assert await desk.ask("search_direct_flight", origin="BOS", destination="DEN", date=day) == []
        assert await desk.ask("search_direct_flight", origin="DEN", destination="SEA", date=day) == []
        assert await desk.ask("search_onestop_flight", origin="BOS", destination="DEN", date=day) == []


async def found(desk: Desk, origin: str, destination: str, day: str) -> list[list[tuple[str, str]]]:
    pairs = await desk.ask("search_onestop_flight", origin=origin, destination=destination, date=day)
    return [[(flight["flight_number"], flight["date"]) for flight in pair] for pair in pairs]


async def test_a_change_of_flights_waits_for_the_first_to_arrive(desk: Desk) -> None:
    day = "2024-05-16"
    assert await found(desk, "BOS", "DEN", day) == [[("LG101", day), ("LG203", day)]]
    assert await found(desk, "SEA", "ORD", day) == [[("LG306", day), ("LG204", "2024-05-17")]]
    # LG203 leaves at the minute at which LG101 arrives, and that will do. On the next day it will not: so does LG408.
    assert await found(desk, "SEA", "BOS", day) == []


async def test_a_flight_of_the_next_day_is_told_with_the_prices_of_the_day_asked_for(desk: Desk) -> None:
    ((first, second),) = await desk.ask("search_onestop_flight", origin="SEA", destination="ORD", date="2024-05-16")
    assert (first["date"], second["date"]) == ("2024-05-16", "2024-05-17")
    assert second["prices"] == {"basic_economy": 57, "economy": 109, "business": 349}
    assert list(second)[-1] == "date"
    # On the last day that is planned nobody knows whether there will be a next flight.
    assert await found(desk, "SEA", "ORD", "2024-05-18") == []


def balance(desk: Desk, gift_card: str) -> Any:
    return desk.user()["payment_methods"][gift_card]["amount"]


async def test_a_booking_is_paid_for_at_once(desk: Desk) -> None:
    made = await desk.ask("book_reservation", **booking((CERTIFICATE, 100), (GIFT_CARD, 40), (CARD, 85)))
    assert list(made) == [
        "reservation_id",
        "user_id",
        "origin",
        "destination",
        "flight_type",
        "cabin",
        "flights",
        "passengers",
        "payment_history",
        "created_at",
        "total_baggages",
        "nonfree_baggages",
        "insurance",
    ]
    assert (made["reservation_id"], made["created_at"]) == ("HATHAT", "2024-05-15T15:00:00")
    assert made["flights"] == [
        TO_ORD | {"price": 118, "origin": "BOS", "destination": "ORD"},
        TO_DEN | {"price": 107, "origin": "ORD", "destination": "DEN"},
    ]
    assert list(made["flights"][0]) == ["flight_number", "date", "price", "origin", "destination"]
    assert [entry["amount"] for entry in made["payment_history"]] == [100, 40, 85]
    assert CERTIFICATE not in desk.user()["payment_methods"]
    assert balance(desk, GIFT_CARD) == 100
    assert desk.user()["reservations"] == ["DEMO01", "DEMO02", "HATHAT"]
    assert await desk.ask("get_reservation_details", reservation_id="HATHAT") == made


async def test_bags_and_insurance_cost_extra_for_each(desk: Desk) -> None:
    extras = {"passengers": [ADA, BEN], "total_baggages": 5, "nonfree_baggages": 3, "insurance": "yes"}
    made = await desk.ask("book_reservation", **booking((CARD, 2 * 225 + 3 * 50 + 2 * 30), **extras))
    assert (made["total_baggages"], made["nonfree_baggages"], made["insurance"]) == (5, 3, "yes")


async def test_each_booking_of_a_run_has_an_id_of_its_own(desk: Desk) -> None:
    made = [await desk.ask("book_reservation", **booking((CARD, 225))) for _ in range(8)]
    assert [record["reservation_id"] for record in made][:3] == ["HATHAT", "HATHAU", "HATHAV"]
    assert desk.user()["reservations"][2:] == [record["reservation_id"] for record in made]
    assert len(set(desk.user()["reservations"])) == 10
    assert CERTIFICATE in desk.user()["payment_methods"]


async def test_a_gift_card_may_be_used_up(desk: Desk) -> None:
    await desk.ask("book_reservation", **booking((GIFT_CARD, 140), (CARD, 85)))
    await desk.ask("update_reservation_baggages", **bags(3, 1, SMALL_GIFT_CARD))
    assert (balance(desk, GIFT_CARD), balance(desk, SMALL_GIFT_CARD)) == (0, 0)


async def test_what_a_model_writes_is_repeated_as_it_was_written(desk: Desk) -> None:
    flights = [{"date": DIRECT["date"], "price": 1, "flight_number": "LG407"}]
    payments = [{"amount": 187.0, "payment_id": CARD}]
    asked = booking(flights=flights, passengers=[ADA | {"meal": "fish"}], payment_methods=payments)
    text = await desk.text("book_reservation", **asked)
    flight = '{"date": "2024-05-16", "price": 187, "flight_number": "LG407", "origin": "BOS", "destination": "DEN"}'
    assert f'"flights": [{flight}]' in text
    assert f'"payment_history": [{{"amount": 187.0, "payment_id": "{CARD}"}}]' in text
    assert '"dob": "1983-09-14", "meal": "fish"}' in text


async def test_the_model_gets_records_as_json_with_escapes(desk: Desk) -> None:
    text = await desk.text("get_user_details", user_id="ruth_nakamura_5518")
    assert text.startswith('{"name": {"first_name": "Ruth", "last_name": "Nakamura-D\\u00edaz"}, "address": {')


async def test_cancelling_turns_every_payment_round(desk: Desk) -> None:
    await desk.ask("update_reservation_baggages", **bags(3, 1, GIFT_CARD))
    record = await desk.ask("cancel_reservation", reservation_id="DEMO01")
    assert [entry["amount"] for entry in record["payment_history"]] == [586, 50, -586, -50]
    assert (record["status"], list(record)[-1]) == ("cancelled", "status")
    assert balance(desk, GIFT_CARD) == 90  # the money takes days to come back


async def test_a_flight_that_is_kept_keeps_its_price(desk: Desk) -> None:
    record = await desk.ask("update_reservation_flights", **change(GIFT_CARD, TO_ORD, TO_DEN, KEPT))
    assert [flight["price"] for flight in record["flights"]] == [118, 107, 121]
    assert list(record["flights"][2]) == ["flight_number", "date", "price", "origin", "destination"]
    assert record["payment_history"][1] == {"payment_id": GIFT_CARD, "amount": 2 * (118 + 107 - 172)}
    assert balance(desk, GIFT_CARD) == 34


async def test_another_cabin_is_paid_at_todays_prices_and_not_written_down(desk: Desk) -> None:
    record = await desk.ask("update_reservation_flights", **change(CARD, DIRECT, KEPT, cabin="business"))
    assert [flight["price"] for flight in record["flights"]] == [640, 402]
    assert record["cabin"] == "economy"
    assert record["payment_history"][1]["amount"] == 2 * (640 + 402 - 172 - 121)


async def test_cheaper_flights_bring_a_refund(desk: Desk) -> None:
    record = await desk.ask("update_reservation_flights", **change(GIFT_CARD, DIRECT, OTHER))
    assert record["payment_history"][1] == {"payment_id": GIFT_CARD, "amount": 2 * (117 - 121)}
    assert balance(desk, GIFT_CARD) == 148


async def test_what_costs_nothing_is_no_payment(desk: Desk) -> None:
    same = await desk.ask("update_reservation_flights", **change(SMALL_GIFT_CARD, DIRECT, KEPT))
    more = await desk.ask("update_reservation_baggages", **bags(4, 0, SMALL_GIFT_CARD))
    assert len(same["payment_history"]) == len(more["payment_history"]) == 1
    assert (more["total_baggages"], more["nonfree_baggages"]) == (4, 0)


async def test_bags_are_paid_when_they_are_added_and_never_refunded(desk: Desk) -> None:
    added = await desk.ask("update_reservation_baggages", **bags(4, 2, GIFT_CARD))
    assert added["payment_history"][1] == {"payment_id": GIFT_CARD, "amount": 100}
    fewer = await desk.ask("update_reservation_baggages", **bags(3, 1, GIFT_CARD))
    assert len(fewer["payment_history"]) == 2
    assert (fewer["total_baggages"], fewer["nonfree_baggages"]) == (3, 1)
    assert balance(desk, GIFT_CARD) == 40


async def test_others_may_fly(desk: Desk) -> None:
    record = await desk.ask("update_reservation_passengers", reservation_id="DEMO01", passengers=[BEN, ADA])
    assert record["passengers"] == [BEN, ADA]


async def test_certificates_are_numbered_on(desk: Desk) -> None:
    said = [await desk.ask("send_certificate", user_id="ada_wessel_2204", amount=amount) for amount in (200, 50.0)]
    assert said == [
        "Certificate certificate_3221322 added to user ada_wessel_2204 with amount 200.",
        "Certificate certificate_3221323 added to user ada_wessel_2204 with amount 50.0.",
    ]
    new = {"source": "certificate", "amount": 200, "id": "certificate_3221322"}
    assert desk.user()["payment_methods"]["certificate_3221322"] == new


async def test_a_thought_changes_nothing(desk: Desk) -> None:
    assert await desk.text("think", thought="Is it a round trip?") == ""
    assert desk.changed() == {}


async def test_the_digest_is_that_of_all_records_as_one_text(desk: Desk) -> None:
    await desk.ask("book_reservation", **booking((CARD, 225)))
    database = RECORDS.read("run-1")
    whole = {collection: dict(database.items(collection)) for collection in RECORDS.collections}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert RECORDS.canonical_sha256("run-1") == hashlib.sha256(text.encode()).hexdigest()


async def test_a_call_made_again_after_a_crash_books_once(desk: Desk) -> None:
    first = await desk.text("book_reservation", **booking((CARD, 225)))
    desk.calls -= 1
    assert await desk.text("book_reservation", **booking((CARD, 225))) == first
    assert desk.user()["reservations"] == ["DEMO01", "DEMO02", "HATHAT"]


def test_only_the_transfer_to_a_person_ends_a_run() -> None:
    ending = [tool.spec.name for tool in airline.tools if isinstance(tool, Tool) and tool.spec.ends_run]
    assert ending == ["transfer_to_human_agents"]
