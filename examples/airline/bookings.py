"""What can be changed at the airline, and what it costs. Checks come first: a refusal changes nothing.

Seats are not counted down here, and which changes a fare allows is for the agent to know (its policy says).
"""

from itertools import count, product
from string import ascii_uppercase

from examples.airline import lookups
from examples.airline.arguments import Cabin, Flight, Flights, Passengers, Payments
from examples.customer_service.records import Database, Record
from ledgent.agent import ToolError

NOW = "2024-05-15T15:00:00"
"""The airline's clock stands still; its policy says the same."""
BAG_PRICE = 50
INSURANCE_PRICE = 30
"""For one passenger."""


def book(
    database: Database,
    *,
    user_id: str,
    origin: str,
    destination: str,
    flight_type: str,
    cabin: Cabin,
    flights: Flights,
    passengers: Passengers,
    payments: Payments,
    total_baggages: int,
    nonfree_baggages: int,
    insurance: str,
) -> Record:
    """A new reservation, paid for."""
    owner = lookups.user(database, user_id)
    booked = [_priced(database, flight, cabin, len(passengers)) for flight in flights]
    price = len(passengers) * sum(flight["price"] for flight in booked) + BAG_PRICE * nonfree_baggages
    if insurance == "yes":
        price += INSURANCE_PRICE * len(passengers)
    methods = _after_payments(owner["payment_methods"], payments, price)
    record = {
        "reservation_id": _new_reservation_id(database),
        "user_id": user_id,
        "origin": origin,
        "destination": destination,
        "flight_type": flight_type,
        "cabin": cabin,
        "flights": booked,
        "passengers": passengers,
        "payment_history": payments,
        "created_at": NOW,
        "total_baggages": total_baggages,
        "nonfree_baggages": nonfree_baggages,
        "insurance": insurance,
    }
    reservations = [*owner["reservations"], record["reservation_id"]]
    database.put("users", user_id, owner | {"payment_methods": methods, "reservations": reservations})
    return _keep(database, record, {})


def cancel(database: Database, reservation_id: str) -> Record:
    """The reservation, cancelled, each of its payments turned round. Refunds take days, so no gift card changes yet."""
    record = lookups.reservation(database, reservation_id)
    refunds = [entry | {"amount": -entry["amount"]} for entry in record["payment_history"]]
    return _keep(database, record, {"payment_history": record["payment_history"] + refunds, "status": "cancelled"})


def change_flights(database: Database, reservation_id: str, cabin: Cabin, flights: Flights, payment_id: str) -> Record:
    """The reservation with these flights, and the difference paid or refunded.

    A flight that it holds already, in this cabin, keeps its price. The cabin on record stays that of the booking.
    """
    record = lookups.reservation(database, reservation_id)
    held = {(flight["flight_number"], flight["date"]): flight for flight in record["flights"]}
    travellers = len(record["passengers"])
    new = []
    for flight in flights:
        kept = held.get((flight["flight_number"], flight["date"])) if cabin == record["cabin"] else None
        if kept is None:
            new.append(_priced(database, flight, cabin, travellers))
        else:
            new.append({**flight, **{key: kept[key] for key in ("price", "origin", "destination")}})
    difference = sum(flight["price"] for flight in new) - sum(flight["price"] for flight in record["flights"])
    paid = _settle(database, record, payment_id, difference * travellers)
    return _keep(database, record, {"flights": new, "payment_history": paid})


def change_baggages(database: Database, reservation_id: str, total: int, nonfree: int, payment_id: str) -> Record:
    """The reservation with these numbers of bags; those not free that are added are paid for."""
    record = lookups.reservation(database, reservation_id)
    paid = _settle(database, record, payment_id, BAG_PRICE * max(0, nonfree - record["nonfree_baggages"]))
    return _keep(database, record, {"payment_history": paid, "total_baggages": total, "nonfree_baggages": nonfree})


def change_passengers(database: Database, reservation_id: str, passengers: Passengers) -> Record:
    """The reservation for other passengers, as many as before."""
    record = lookups.reservation(database, reservation_id)
    if len(passengers) != len(record["passengers"]):
        raise ToolError("Error: number of passengers does not match")
    return _keep(database, record, {"passengers": passengers})


def send_certificate(database: Database, user_id: str, amount: float) -> str:
    """What was sent to whom."""
    owner = lookups.user(database, user_id)
    methods = owner["payment_methods"]
    certificate = next(name for name in (f"certificate_{n}" for n in count(3_221_322)) if name not in methods)
    new = {certificate: {"source": "certificate", "amount": amount, "id": certificate}}
    database.put("users", user_id, owner | {"payment_methods": methods | new})
    return f"Certificate {certificate} added to user {user_id} with amount {amount}."


def _keep(database: Database, record: Record, changes: Record) -> Record:
    database.put("reservations", record["reservation_id"], record | changes)
    return record | changes


def _priced(database: Database, asked: Flight, cabin: Cabin, travellers: int) -> Record:
    """The flight as asked for, with today's price for one and its route."""
    number, day = asked["flight_number"], asked["date"]
    flight = database.find("flights", number)
    if flight is None:
        raise ToolError(f"Error: flight {number} not found")
    offer = flight["dates"].get(day, {})
    if offer.get("status") != "available":
        raise ToolError(f"Error: flight {number} not available on date {day}")
    if offer["available_seats"][cabin] < travellers:
        raise ToolError(f"Error: not enough seats on flight {number}")
    route = {"origin": flight["origin"], "destination": flight["destination"]}
    return {**asked, "price": offer["prices"][cabin], **route}


def _after_payments(methods: dict[str, Record], payments: Payments, price: float) -> dict[str, Record]:
    """The user's payment methods once the price is paid; a certificate is used up, whatever is left on it."""
    left = dict(methods)
    for payment in payments:
        method = left.get(payment["payment_id"])
        if method is None:
            raise ToolError(f"Error: payment method {payment['payment_id']} not found")
        if method["source"] == "credit_card":
            continue
        if method["amount"] < payment["amount"]:
            raise ToolError(f"Error: not enough balance in payment method {payment['payment_id']}")
        left[payment["payment_id"]] = method | {"amount": method["amount"] - payment["amount"]}
    paid = sum(payment["amount"] for payment in payments)
    if paid != price:
        raise ToolError(f"Error: payment amount does not add up, total price is {price}, but paid {paid}")
    used = {payment["payment_id"] for payment in payments}
    return {key: method for key, method in left.items() if key not in used or method["source"] != "certificate"}


def _settle(database: Database, record: Record, payment_id: str, amount: float) -> list[Record]:
    """The reservation's payments after one more, which may be a refund; nothing to pay is no payment."""
    owner = lookups.user(database, record["user_id"])
    method = owner["payment_methods"].get(payment_id)
    if method is None:
        raise ToolError("Error: payment method not found")
    if method["source"] == "certificate":
        raise ToolError("Error: certificate cannot be used to update reservation")
    if method["source"] == "gift_card":
        if method["amount"] < amount:
            raise ToolError("Error: gift card balance is not enough")
        card = {payment_id: method | {"amount": method["amount"] - amount}}
        database.put("users", record["user_id"], owner | {"payment_methods": owner["payment_methods"] | card})
    paid: list[Record] = list(record["payment_history"])
    return [*paid, {"payment_id": payment_id, "amount": amount}] if amount else paid


def _new_reservation_id(database: Database) -> str:
    """The first of HATHAT, HATHAU, HATHAV and so on that is free."""
    names = ("HAT" + "".join(letters) for letters in product(ascii_uppercase, repeat=3))
    return next(name for name in names if name >= "HATHAT" and database.find("reservations", name) is None)
