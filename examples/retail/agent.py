"""The shop's agent: which instructions, model and tools it works with."""

from examples.customer_service.tools import calculate, transfer_to_human_agents
from examples.retail import tools
from examples.retail.database import RECORDS
from ledgent.agent import Agent

RECORDS.start()  # A wrong RETAIL_DATA is told now, not in the middle of a customer's run.

retail = Agent(
    name="retail",
    instructions=RECORDS.policy(),
    model="gpt-4o",
    conversational=True,
    tools=[
        calculate,
        tools.cancel_pending_order,
        tools.exchange_delivered_order_items,
        tools.find_user_id_by_email,
        tools.find_user_id_by_name_zip,
        tools.get_order_details,
        tools.get_product_details,
        tools.get_user_details,
        tools.list_all_product_types,
        tools.modify_pending_order_address,
        tools.modify_pending_order_items,
        tools.modify_pending_order_payment,
        tools.modify_user_address,
        tools.return_delivered_order_items,
        tools.think,
        transfer_to_human_agents,
    ],
)
