"""What can be asked of the airline. Nothing here changes a record."""

from collections.abc import Iterator
from datetime import date, timedelta

from examples.customer_service.records import Database, Record

CITIES = {
    "ATL": "Atlanta",
    "BOS": "Boston",
    "CLT": "Charlotte",
    "DEN": "Denver",
    "DFW": "Dallas",
    "DTW": "Detroit",
    "EWR": "Newark",
    "IAH": "Houston",
    "JFK": "New York",
    "LAS": "Las Vegas",
    "LAX": "Los Angeles",
    "LGA": "New York",
    "MCO": "Orlando",
    "MIA": "Miami",
    "MSP": "Minneapolis",
    "ORD": "Chicago",
    "PHL": "Philadelphia",
    "PHX": "Phoenix",
    "SEA": "Seattle",
    "SFO": "San Francisco",
}


def user(database: Database, user_id: str) -> Record:
    """The user's record."""
    return database.get("users", user_id)


def reservation(database: Database, reservation_id: str) -> Record:
    """The reservation's record."""
    return database.get("reservations", reservation_id)


def airports(database: Database) -> dict[str, str]:
    """The cities by airport, in the order of the airports' codes."""
    served = {flight[end] for _, flight in database.items("flights") for end in ("origin", "destination")}
    return {code: CITIES.get(code, code) for code in sorted(served)}


def direct_flights(database: Database, origin: str, destination: str, day: str) -> list[Record]:
    """The flights that can be booked for the day, in stored order."""
    return [_offer(flight, day) for flight in _leaving(database, origin, day) if flight["destination"] == destination]


def one_stop_flights(database: Database, origin: str, destination: str, day: str) -> list[list[Record]]:
    """Pairs of flights that meet, each with its date; both in stored order.

    A second flight on the day after is told with the seats and prices of the day that was asked for: what a
    booking costs is settled when it is made.
    """
    pairs = []
    for first in _leaving(database, origin, day):
        arrival = first["scheduled_arrival_time_est"]
        next_day = _day_after(day) if arrival.endswith("+1") else day
        for second in _leaving(database, first["destination"], day):
            # Times compare as texts; "04:00:00+1" comes after "04:00:00", so that change is too short.
            meets = arrival <= second["scheduled_departure_time_est"] and _can_be_booked(second, next_day)
            if second["destination"] == destination and meets:
                pairs.append([_offer(first, day) | {"date": day}, _offer(second, day) | {"date": next_day}])
    return pairs


def _leaving(database: Database, origin: str, day: str) -> Iterator[Record]:
    flights = (flight for _, flight in database.items("flights"))
    return (flight for flight in flights if flight["origin"] == origin and _can_be_booked(flight, day))


def _can_be_booked(flight: Record, day: str) -> bool:
    return bool(flight["dates"].get(day, {}).get("status") == "available")


def _offer(flight: Record, day: str) -> Record:
    """The flight as it is on one day."""
    return {key: value for key, value in flight.items() if key != "dates"} | dict(flight["dates"][day])


def _day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
