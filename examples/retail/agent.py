"""The shop's agent: which instructions, model and tools it works with."""

from examples.retail import database, tools
from ledgent.agent import Agent


def _instructions() -> str:
    """The policy that came with RETAIL_DATA, in the folder or beside it; else the demo shop's."""
    folder = database.start_folder()
    supplied = [folder / "policy.txt", folder.parent / "policy.txt"]
    policy = next((path for path in supplied if path.is_file()), database.DEMO_SHOP.parent / "policy.md")
    return policy.read_text(encoding="utf-8")


database.start_records()  # A wrong RETAIL_DATA is told now, not in the middle of a customer's run.

retail = Agent(
    name="retail",
    instructions=_instructions(),
    model="gpt-4o",
    conversational=True,
    tools=[
        tools.calculate,
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
        tools.transfer_to_human_agents,
    ],
)
