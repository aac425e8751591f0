"""The airline's tools as a model sees them: names, descriptions, parameters. No rules of the airline here."""

from functools import partial
from typing import Literal

from examples.airline import bookings, lookups
from examples.airline.arguments import Amount, Cabin, Flights, Passengers, Payments
from examples.airline.database import RECORDS
from examples.customer_service.tools import ask, change
from ledgent.agent import ToolContext, tool

_ask = partial(ask, RECORDS)
_change = partial(change, RECORDS)


@tool(idempotent=True)
def book_reservation(
    user_id: str,
    origin: str,
    destination: str,
    flight_type: Literal["one_way", "round_trip"],
    cabin: Cabin,
    flights: Flights,
    passengers: Passengers,
    payment_methods: Payments,
    total_baggages: int,
    nonfree_baggages: int,
    insurance: Literal["yes", "no"],
    context: ToolContext,
) -> str:
    """Book a reservation.

    Args:
        user_id: The ID of the user to book the reservation, such as 'sara_doe_496'.
        origin: The IATA code for the origin city, such as 'SFO'.
        destination: The IATA code for the destination city, such as 'JFK'.
        flights: An array of objects containing details about each piece of flight.
        passengers: An array of objects containing details about each passenger.
        payment_methods: An array of objects containing details about each payment method.
        total_baggages: The total number of baggage items included in the reservation.
        nonfree_baggages: The number of non-free baggage items included in the reservation.
    """
    return _change(
        context,
        lambda airline: bookings.book(
            airline,
            user_id=user_id,
            origin=origin,
            destination=destination,
            flight_type=flight_type,
            cabin=cabin,
            flights=flights,
            passengers=passengers,
            payments=payment_methods,
            total_baggages=total_baggages,
            nonfree_baggages=nonfree_baggages,
            insurance=insurance,
        ),
    )


@tool(idempotent=True)
def cancel_reservation(reservation_id: str, context: ToolContext) -> str:
    """Cancel the whole reservation.

    Args:
        reservation_id: The reservation ID, such as 'ZFA04Y'.
    """
    return _change(context, lambda airline: bookings.cancel(airline, reservation_id))


@tool(idempotent=True)
def get_reservation_details(reservation_id: str, context: ToolContext) -> str:
    """Get the details of a reservation.

    Args:
        reservation_id: The reservation id, such as '8JX2WO'.
    """
    return _ask(context, lambda airline: lookups.reservation(airline, reservation_id))


@tool(idempotent=True)
def get_user_details(user_id: str, context: ToolContext) -> str:
    """Get the details of an user.

    Args:
        user_id: The user id, such as 'sara_doe_496'.
    """
    return _ask(context, lambda airline: lookups.user(airline, user_id))


@tool(idempotent=True)
def list_all_airports(context: ToolContext) -> str:
    """List all airports and their cities."""
    return _ask(context, lookups.airports)


@tool(idempotent=True)
def search_direct_flight(origin: str, destination: str, date: str, context: ToolContext) -> str:
    """Search direct flights between two cities on a specific date.

    Args:
        origin: The origin city airport in three letters, such as 'JFK'.
        destination: The destination city airport in three letters, such as 'LAX'.
        date: The date of the flight in the format 'YYYY-MM-DD', such as '2024-01-01'.
    """
    return _ask(context, lambda airline: lookups.direct_flights(airline, origin, destination, date))


@tool(idempotent=True)
def search_onestop_flight(origin: str, destination: str, date: str, context: ToolContext) -> str:
    """Search direct flights between two cities on a specific date.

    Args:
        origin: The origin city airport in three letters, such as 'JFK'.
        destination: The destination city airport in three letters, such as 'LAX'.
        date: The date of the flight in the format 'YYYY-MM-DD', such as '2024-05-01'.
    """
    return _ask(context, lambda airline: lookups.one_stop_flights(airline, origin, destination, date))


@tool(idempotent=True)
def send_certificate(user_id: str, amount: Amount, context: ToolContext) -> str:
    """Send a certificate to a user. Be careful!

    Args:
        user_id: The ID of the user to book the reservation, such as 'sara_doe_496'.
        amount: Certificate amount to send.
    """
    return _change(context, lambda airline: bookings.send_certificate(airline, user_id, amount))


@tool(idempotent=True)
def think(thought: str) -> str:
    """Use the tool to think about something. It will not obtain new information or change the database, but
    just append the thought to the log. Use it when complex reasoning is needed.

    Args:
        thought: A thought to think about.
    """
    return ""


@tool(idempotent=True)
def update_reservation_baggages(
    reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str, context: ToolContext
) -> str:
    """Update the baggage information of a reservation.

    Args:
        reservation_id: The reservation ID, such as 'ZFA04Y'.
        total_baggages: The updated total number of baggage items included in the reservation.
        nonfree_baggages: The updated number of non-free baggage items included in the reservation.
        payment_id: The payment id stored in user profile, such as 'credit_card_7815826',
            'gift_card_7815826', 'certificate_7815826'.
    """
    return _change(
        context,
        lambda airline: bookings.change_baggages(airline, reservation_id, total_baggages, nonfree_baggages, payment_id),
    )


@tool(idempotent=True)
def update_reservation_flights(
    reservation_id: str, cabin: Cabin, flights: Flights, payment_id: str, context: ToolContext
) -> str:
    """Update the flight information of a reservation.

    Args:
        reservation_id: The reservation ID, such as 'ZFA04Y'.
        flights: An array of objects containing details about each piece of flight in the ENTIRE new
            reservation. Even if the a flight segment is not changed, it should still be included in the array.
        payment_id: The payment id stored in user profile, such as 'credit_card_7815826',
            'gift_card_7815826', 'certificate_7815826'.
    """
    return _change(
        context,
        lambda airline: bookings.change_flights(airline, reservation_id, cabin, flights, payment_id),
    )


@tool(idempotent=True)
def update_reservation_passengers(reservation_id: str, passengers: Passengers, context: ToolContext) -> str:
    """Update the passenger information of a reservation.

    Args:
        reservation_id: The reservation ID, such as 'ZFA04Y'.
        passengers: An array of objects containing details about each passenger.
    """
    return _change(context, lambda airline: bookings.change_passengers(airline, reservation_id, passengers))
