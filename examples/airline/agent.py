"""The airline's agent: which instructions, model and tools it works with."""

from examples.airline import tools
from examples.airline.database import RECORDS
from examples.customer_service.tools import calculate, transfer_to_human_agents
from ledgent.agent import Agent

RECORDS.start()  # A wrong AIRLINE_DATA is told now, not in the middle of a customer's run.

airline = Agent(
    name="airline",
    instructions=RECORDS.policy(),
    model="gpt-4o",
    conversational=True,
    tools=[
        tools.book_reservation,
        calculate,
        tools.cancel_reservation,
        tools.get_reservation_details,
        tools.get_user_details,
        tools.list_all_airports,
        tools.search_direct_flight,
        tools.search_onestop_flight,
        tools.send_certificate,
        tools.think,
        transfer_to_human_agents,
        tools.update_reservation_baggages,
        tools.update_reservation_flights,
        tools.update_reservation_passengers,
    ],
)
