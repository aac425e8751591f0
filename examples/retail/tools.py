"""The shop's tools as a model sees them: names, descriptions, parameters. No rules of the shop here."""

from functools import partial
from typing import Literal

from examples.customer_service.tools import ask, change
from examples.retail import changes, lookups
from examples.retail.database import RECORDS
from ledgent.agent import ToolContext, tool

_ask = partial(ask, RECORDS)
_change = partial(change, RECORDS)


@tool(idempotent=True)
def cancel_pending_order(
    order_id: str, reason: Literal["no longer needed", "ordered by mistake"], context: ToolContext
) -> str:
    """Cancel a pending order. If the order is already processed or delivered, it cannot be cancelled. The
    agent needs to explain the cancellation detail and ask for explicit user confirmation (yes/no) to proceed.
    If the user confirms, the order status will be changed to 'cancelled' and the payment will be refunded.
    The refund will be added to the user's gift card balance immediately if the payment was made using a gift
    card, otherwise the refund would take 5-7 business days to process. The function returns the order details
    after the cancellation.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        reason: The reason for cancellation, which should be either 'no longer needed' or 'ordered by
            mistake'.
    """
    return _change(context, lambda shop: changes.cancel_order(shop, order_id, reason))


@tool(idempotent=True)
def exchange_delivered_order_items(
    order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str, context: ToolContext
) -> str:
    """Exchange items in a delivered order to new items of the same product type. For a delivered order,
    return or exchange can be only done once by the agent. The agent needs to explain the exchange detail and
    ask for explicit user confirmation (yes/no) to proceed.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        item_ids: The item ids to be exchanged, each such as '1008292230'. There could be duplicate items in
            the list.
        new_item_ids: The item ids to be exchanged for, each such as '1008292230'. There could be duplicate
            items in the list. Each new item id should match the item id in the same position and be of the
            same product.
        payment_method_id: The payment method id to pay or receive refund for the item price difference, such
            as 'gift_card_0000000' or 'credit_card_0000000'. These can be looked up from the user or order
            details.
    """
    return _change(
        context,
        lambda shop: changes.exchange_items(shop, order_id, item_ids, new_item_ids, payment_method_id),
    )


@tool(idempotent=True)
def find_user_id_by_email(email: str, context: ToolContext) -> str:
    """Find user id by email. If the user is not found, the function will return an error message.

    Args:
        email: The email of the user, such as 'something@example.com'.
    """
    return _ask(context, lambda shop: lookups.user_id_by_email(shop, email))


@tool(idempotent=True)
def find_user_id_by_name_zip(first_name: str, last_name: str, zip: str, context: ToolContext) -> str:
    """Find user id by first name, last name, and zip code. If the user is not found, the function will return
    an error message. By default, find user id by email, and only call this function if the user is not found
    by email or cannot remember email.

    Args:
        first_name: The first name of the customer, such as 'John'.
        last_name: The last name of the customer, such as 'Doe'.
        zip: The zip code of the customer, such as '12345'.
    """
    return _ask(context, lambda shop: lookups.user_id_by_name_zip(shop, first_name, last_name, zip))


@tool(idempotent=True)
def get_order_details(order_id: str, context: ToolContext) -> str:
    """Get the status and details of an order.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
    """
    return _ask(context, lambda shop: lookups.order(shop, order_id))


@tool(idempotent=True)
def get_product_details(product_id: str, context: ToolContext) -> str:
    """Get the inventory details of a product.

    Args:
        product_id: The product id, such as '6086499569'. Be careful the product id is different from the item
            id.
    """
    return _ask(context, lambda shop: lookups.product(shop, product_id))


@tool(idempotent=True)
def get_user_details(user_id: str, context: ToolContext) -> str:
    """Get the details of a user, including their orders.

    Args:
        user_id: The user id, such as 'sara_doe_496'.
    """
    return _ask(context, lambda shop: lookups.user(shop, user_id))


@tool(idempotent=True)
def list_all_product_types(context: ToolContext) -> str:
    """List the name and product id of all product types. Each product type has a variety of different items
    with unique item ids and options. There are only 50 product types in the store.
    """
    return _ask(context, lookups.product_types)


@tool(idempotent=True)
def modify_pending_order_address(
    order_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
    context: ToolContext,
) -> str:
    """Modify the shipping address of a pending order. The agent needs to explain the modification detail and
    ask for explicit user confirmation (yes/no) to proceed.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        address1: The first line of the address, such as '123 Main St'.
        address2: The second line of the address, such as 'Apt 1' or ''.
        city: The city, such as 'San Francisco'.
        state: The state, such as 'CA'.
        country: The country, such as 'USA'.
        zip: The zip code, such as '12345'.
    """
    address = changes.address(address1, address2, city, state, country, zip)
    return _change(context, lambda shop: changes.set_order_address(shop, order_id, address))


@tool(idempotent=True)
def modify_pending_order_items(
    order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str, context: ToolContext
) -> str:
    """Modify items in a pending order to new items of the same product type. For a pending order, this
    function can only be called once. The agent needs to explain the exchange detail and ask for explicit user
    confirmation (yes/no) to proceed.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        item_ids: The item ids to be modified, each such as '1008292230'. There could be duplicate items in
            the list.
        new_item_ids: The item ids to be modified for, each such as '1008292230'. There could be duplicate
            items in the list. Each new item id should match the item id in the same position and be of the
            same product.
        payment_method_id: The payment method id to pay or receive refund for the item price difference, such
            as 'gift_card_0000000' or 'credit_card_0000000'. These can be looked up from the user or order
            details.
    """
    return _change(
        context,
        lambda shop: changes.swap_pending_items(shop, order_id, item_ids, new_item_ids, payment_method_id),
    )


@tool(idempotent=True)
def modify_pending_order_payment(order_id: str, payment_method_id: str, context: ToolContext) -> str:
    """Modify the payment method of a pending order. The agent needs to explain the modification detail and
    ask for explicit user confirmation (yes/no) to proceed.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        payment_method_id: The payment method id to pay or receive refund for the item price difference, such
            as 'gift_card_0000000' or 'credit_card_0000000'. These can be looked up from the user or order
            details.
    """
    return _change(context, lambda shop: changes.set_order_payment(shop, order_id, payment_method_id))


@tool(idempotent=True)
def modify_user_address(
    user_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,
    context: ToolContext,
) -> str:
    """Modify the default address of a user. The agent needs to explain the modification detail and ask for
    explicit user confirmation (yes/no) to proceed.

    Args:
        user_id: The user id, such as 'sara_doe_496'.
        address1: The first line of the address, such as '123 Main St'.
        address2: The second line of the address, such as 'Apt 1' or ''.
        city: The city, such as 'San Francisco'.
        state: The state, such as 'CA'.
        country: The country, such as 'USA'.
        zip: The zip code, such as '12345'.
    """
    address = changes.address(address1, address2, city, state, country, zip)
    return _change(context, lambda shop: changes.set_user_address(shop, user_id, address))


@tool(idempotent=True)
def return_delivered_order_items(
    order_id: str, item_ids: list[str], payment_method_id: str, context: ToolContext
) -> str:
    """Return some items of a delivered order. The order status will be changed to 'return requested'. The
    agent needs to explain the return detail and ask for explicit user confirmation (yes/no) to proceed. The
    user will receive follow-up email for how and where to return the item.

    Args:
        order_id: The order id, such as '#W0000000'. Be careful there is a '#' symbol at the beginning of the
            order id.
        item_ids: The item ids to be returned, each such as '1008292230'. There could be duplicate items in
            the list.
        payment_method_id: The payment method id to pay or receive refund for the item price difference, such
            as 'gift_card_0000000' or 'credit_card_0000000'. These can be looked up from the user or order
            details.
    """
    return _change(context, lambda shop: changes.return_items(shop, order_id, item_ids, payment_method_id))


@tool(idempotent=True)
def think(thought: str) -> str:
    """Use the tool to think about something. It will not obtain new information or change the database, but
    just append the thought to the log. Use it when complex reasoning or some cache memory is needed.

    Args:
        thought: A thought to think about.
    """
    return ""
