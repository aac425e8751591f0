"""The demo's bicycle shop: its goods, orders and the tools that agents work in it with. Invented, and never changed."""

import asyncio
from difflib import get_close_matches

from ledgent.agent import ToolContext, ToolError, tool

GOODS: dict[str, dict[str, object]] = {
    "touring-saddle": {"price_usd": 89.0, "in_stock": 14, "shelf": "B2"},
    "brass-bell": {"price_usd": 18.5, "in_stock": 0, "shelf": "A1"},
    "dynamo-light": {"price_usd": 64.0, "in_stock": 3, "shelf": "C4"},
    "cork-grips": {"price_usd": 24.0, "in_stock": 41, "shelf": "A3"},
}
ORDERS: dict[str, dict[str, object]] = {
    "A-1004": {"customer": "Ida Moreau", "item": "dynamo-light", "paid_usd": 64.0, "state": "delivered", "days_ago": 6},
    "A-1008": {
        "customer": "Teo Lindqvist",
        "item": "touring-saddle",
        "paid_usd": 89.0,
        "state": "packed",
        "days_ago": 1,
    },
    "A-1013": {"customer": "Noor Haddad", "item": "brass-bell", "paid_usd": 18.5, "state": "waiting", "days_ago": 3},
}
RETURN_DAYS = 30


@tool
async def find_order(order_id: str) -> dict[str, object]:
    """Looks an order up.

    Args:
        order_id: The order's number, such as A-1004.
    """
    await asyncio.sleep(0.12)
    if order_id not in ORDERS:
        near = get_close_matches(order_id, ORDERS, n=1)
        raise ToolError(f"There is no order {order_id}." + (f" Did you mean {near[0]}?" if near else ""))
    return {"order_id": order_id, **ORDERS[order_id]}


@tool
async def check_return(order_id: str) -> dict[str, object]:
    """Says whether an order may be returned.

    Args:
        order_id: The order's number.
    """
    await asyncio.sleep(0.18)
    order = ORDERS[order_id]
    days = order["days_ago"]
    return {"may_return": order["state"] == "delivered" and isinstance(days, int) and days <= RETURN_DAYS}


@tool
async def refund_order(order_id: str, reason: str, context: ToolContext) -> dict[str, object]:
    """Gives a customer the money back.

    Args:
        order_id: The order's number.
        reason: Why, in a few words.
    """
    await asyncio.sleep(0.3)
    # What a payment service would be handed, so that asking it twice pays once.
    return {"refunded_usd": ORDERS[order_id]["paid_usd"], "reason": reason, "payment": context.call_id}


@tool(idempotent=True, attempts=2)
async def check_stock(item: str) -> dict[str, object]:
    """Counts what is left of an item.

    Args:
        item: The item's name, such as brass-bell.
    """
    await asyncio.sleep(0.15 + 0.15 * (len(item) % 4))
    return {"item": item, "in_stock": GOODS[item]["in_stock"]}


@tool
async def order_from_maker(item: str, pieces: int) -> str:
    """Orders more of an item from its maker.

    Args:
        item: The item's name.
        pieces: How many.
    """
    await asyncio.sleep(0.25)
    return f"{pieces} x {item} ordered, here in 5 days"


@tool
async def ship_order(order_id: str, carrier: str) -> dict[str, str]:
    """Hands a packed order to a carrier.

    Args:
        order_id: The order's number.
        carrier: post or courier.
    """
    await asyncio.sleep(0.2)
    return {"order_id": order_id, "carrier": carrier, "tracking": f"{carrier.upper()}-{order_id[-4:]}-77"}


@tool(idempotent=True)
async def look_up_price(item: str, shop: str) -> dict[str, object]:
    """Looks up what another shop asks for an item.

    Args:
        item: The item's name.
        shop: The other shop's name.
    """
    await asyncio.sleep(0.1)
    return {"shop": shop, "item": item, "price_usd": 15.0 + 0.5 * len(shop)}


@tool(timeout_s=30)
async def count_shelf(shelf: str) -> str:
    """Has somebody count all that lies on a shelf; this takes its time.

    Args:
        shelf: The shelf, such as A1.
    """
    await asyncio.sleep(20)
    return f"shelf {shelf} counted"
