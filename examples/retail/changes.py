"""What can be changed in the shop, and by which rules. Checks come first: a refusal changes nothing."""

from collections import Counter

from examples.customer_service.records import Database, Record
from examples.retail.lookups import order, product, user
from ledgent.agent import ToolError

CANCEL_REASONS = ("no longer needed", "ordered by mistake")


def address(address1: str, address2: str, city: str, state: str, country: str, zip: str) -> dict[str, str]:
    """An address as the shop stores it."""
    return {
        "address1": address1,
        "address2": address2,
        "city": city,
        "state": state,
        "country": country,
        "zip": zip,
    }


def cancel_order(database: Database, order_id: str, reason: str) -> Record:
    """The order, cancelled, with every payment refunded."""
    record = _order_with_status(database, order_id, "pending", "Error: non-pending order cannot be cancelled")
    if reason not in CANCEL_REASONS:
        raise ToolError("Error: invalid reason")
    refunds = []
    for payment in _payments_not_refunded(record):
        _add_to_gift_card(database, record["user_id"], payment["payment_method_id"], payment["amount"])
        refunds.append(_entry("refund", payment["amount"], payment["payment_method_id"]))
    history = record["payment_history"] + refunds
    changes = {"status": "cancelled", "cancel_reason": reason, "payment_history": history}
    return _replace_order(database, record | changes)


def set_order_address(database: Database, order_id: str, new_address: dict[str, str]) -> Record:
    """The order with a new shipping address."""
    record = _order_with_status(database, order_id, "pending", "Error: non-pending order cannot be modified")
    return _replace_order(database, record | {"address": new_address})


def set_order_payment(database: Database, order_id: str, payment_method_id: str) -> Record:
    """The order, paid for by another method, with the first payment refunded."""
    record = _order_with_status(database, order_id, "pending", "Error: non-pending order cannot be modified")
    method = _payment_method(database, record, payment_method_id)
    history = record["payment_history"]
    if len(history) != 1 or history[0]["transaction_type"] != "payment":
        raise ToolError("Error: there should be exactly one payment for a pending order")
    old_method_id, amount = history[0]["payment_method_id"], history[0]["amount"]
    if payment_method_id == old_method_id:
        raise ToolError("Error: the new payment method should be different from the current one")
    _require_balance(method, amount, "Error: insufficient gift card balance to pay for the order")
    _add_to_gift_card(database, record["user_id"], payment_method_id, -amount)
    _add_to_gift_card(database, record["user_id"], old_method_id, amount)
    entries = [_entry("payment", amount, payment_method_id), _entry("refund", amount, old_method_id)]
    return _replace_order(database, record | {"payment_history": history + entries})


def swap_pending_items(
    database: Database, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> Record:
    """The order with other variants of its items, and the price difference paid or refunded at once."""
    record = _order_with_status(database, order_id, "pending", "Error: non-pending order cannot be modified")
    items, difference = _swapped(database, record, item_ids, new_item_ids)
    method = _payment_method(database, record, payment_method_id)
    _require_balance(method, difference, "Error: insufficient gift card balance to pay for the new item")
    _add_to_gift_card(database, record["user_id"], payment_method_id, -difference)
    entry = _entry("payment" if difference > 0 else "refund", abs(difference), payment_method_id)
    history = [*record["payment_history"], entry]
    changes = {"items": items, "status": "pending (item modified)", "payment_history": history}
    return _replace_order(database, record | changes)


def return_items(database: Database, order_id: str, item_ids: list[str], payment_method_id: str) -> Record:
    """The order with a return asked for; the money moves when the parcel is back."""
    record = _order_with_status(database, order_id, "delivered", "Error: non-delivered order cannot be returned")
    method = _payment_method(database, record, payment_method_id)
    if method["source"] != "gift_card" and payment_method_id != record["payment_history"][0]["payment_method_id"]:
        raise ToolError("Error: payment method should be either the original payment method or a gift card")
    if _missing_items(record, item_ids):
        raise ToolError("Error: some item not found")
    changes = {
        "status": "return requested",
        "return_items": sorted(item_ids),
        "return_payment_method_id": payment_method_id,
    }
    return _replace_order(database, record | changes)


def exchange_items(
    database: Database, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> Record:
    """The order with an exchange asked for; items and money move when the parcel is back."""
    record = _order_with_status(database, order_id, "delivered", "Error: non-delivered order cannot be exchanged")
    _, difference = _swapped(database, record, item_ids, new_item_ids)
    method = _payment_method(database, record, payment_method_id)
    _require_balance(method, difference, "Error: insufficient gift card balance to pay for the price difference")
    changes = {
        "status": "exchange requested",
        "exchange_items": sorted(item_ids),
        "exchange_new_items": sorted(new_item_ids),
        "exchange_payment_method_id": payment_method_id,
        "exchange_price_difference": round(difference, 2),
    }
    return _replace_order(database, record | changes)


def set_user_address(database: Database, user_id: str, new_address: dict[str, str]) -> Record:
    """The user with a new default address; orders keep theirs."""
    record = user(database, user_id) | {"address": new_address}
    database.put("users", user_id, record)
    return record


def _replace_order(database: Database, record: Record) -> Record:
    database.put("orders", record["order_id"], record)
    return record


def _order_with_status(database: Database, order_id: str, status: str, otherwise: str) -> Record:
    record = order(database, order_id)
    if record["status"] != status:
        raise ToolError(otherwise)
    return record


def _missing_items(record: Record, item_ids: list[str]) -> list[str]:
    """The item ids that are asked for more often than the order holds them."""
    held = Counter(item["item_id"] for item in record["items"])
    asked = Counter(item_ids)
    return [item_id for item_id in asked if asked[item_id] > held[item_id]]


def _swapped(
    database: Database, record: Record, item_ids: list[str], new_item_ids: list[str]
) -> tuple[list[Record], float]:
    """The order's items after the swap, and how much more they cost."""
    if missing := _missing_items(record, item_ids):
        raise ToolError(f"Error: {missing[0]} not found")
    if len(item_ids) != len(new_item_ids):
        raise ToolError("Error: the number of items to be exchanged should match")
    items = list(record["items"])
    difference = 0.0
    done: set[int] = set()
    for item_id, new_item_id in zip(item_ids, new_item_ids, strict=True):
        # An order may hold an item twice, and a new item may be one that another swap gives away.
        place = next(n for n, item in enumerate(items) if item["item_id"] == item_id and n not in done)
        variant = product(database, items[place]["product_id"])["variants"].get(new_item_id)
        if variant is None or not variant["available"]:
            raise ToolError(f"Error: new item {new_item_id} not found or available")
        difference += variant["price"] - items[place]["price"]
        new = {"item_id": new_item_id, "price": variant["price"], "options": variant["options"]}
        items[place] = items[place] | new
        done.add(place)
    return items, difference


def _payment_method(database: Database, record: Record, payment_method_id: str) -> Record:
    methods: dict[str, Record] = user(database, record["user_id"])["payment_methods"]
    if payment_method_id not in methods:
        raise ToolError("Error: payment method not found")
    return methods[payment_method_id]


def _require_balance(method: Record, amount: float, otherwise: str) -> None:
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise ToolError(otherwise)


def _add_to_gift_card(database: Database, user_id: str, payment_method_id: str, amount: float) -> None:
    """Move money at once where the shop itself keeps it; what banks do is not in this database."""
    owner = user(database, user_id)
    method = owner["payment_methods"].get(payment_method_id)
    if method is None or method["source"] != "gift_card":
        return
    card = method | {"balance": round(method["balance"] + amount, 2)}
    methods = owner["payment_methods"] | {payment_method_id: card}
    database.put("users", user_id, owner | {"payment_methods": methods})


def _payments_not_refunded(record: Record) -> list[Record]:
    """The payments that the shop still holds; a changed payment method has refunded the one before it."""
    refunded = [_paid(entry) for entry in record["payment_history"] if entry["transaction_type"] == "refund"]
    held = []
    for entry in record["payment_history"]:
        if entry["transaction_type"] != "payment":
            continue
        if _paid(entry) in refunded:
            refunded.remove(_paid(entry))
        else:
            held.append(entry)
    return held


def _paid(entry: Record) -> tuple[str, float]:
    return entry["payment_method_id"], entry["amount"]


def _entry(transaction_type: str, amount: float, payment_method_id: str) -> Record:
    return {"transaction_type": transaction_type, "amount": amount, "payment_method_id": payment_method_id}
