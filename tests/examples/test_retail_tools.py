from collections.abc import Callable
from typing import Any

import pytest

from examples.customer_service.records import Database
from examples.retail import changes, lookups, retail
from examples.retail.database import RECORDS
from ledgent.agent import Tool, ToolContext, ToolError
from ledgent.agent.tools.function import InvalidArguments

PENDING_BY_CARD = "#W5100424"
PENDING_BY_GIFT_CARD = "#W5100462"
PENDING_BY_PAYPAL = "#W5100486"
DELIVERED = "#W5100417"
PROCESSED = "#W5100455"
CARD = "credit_card_4410276"
GIFT_CARD = "gift_card_4410283"
TOOLS = [tool for tool in retail.tools if isinstance(tool, Tool)]


@pytest.fixture
def shop() -> Database:
    return Database(RECORDS.load(RECORDS.demo))


def balance(shop: Database, user_id: str, gift_card_id: str) -> Any:
    return lookups.user(shop, user_id)["payment_methods"][gift_card_id]["balance"]


def test_the_demo_shop_agrees_with_itself(shop: Database) -> None:
    for order_id, order in shop.items("orders"):
        user = lookups.user(shop, order["user_id"])
        paid = order["payment_history"][0]
        assert order_id in user["orders"]
        assert paid["payment_method_id"] in user["payment_methods"]
        assert paid["amount"] == round(sum(item["price"] for item in order["items"]), 2)
        for item in order["items"]:
            product = lookups.product(shop, item["product_id"])
            variant = product["variants"][item["item_id"]]
            assert (item["name"], item["price"], item["options"]) == (
                product["name"],
                variant["price"],
                variant["options"],
            )


def test_users_are_found_whatever_the_letter_case(shop: Database) -> None:
    assert lookups.user_id_by_email(shop, "MIRA.Halvorsen@Example.com") == "mira_halvorsen_3107"
    assert lookups.user_id_by_name_zip(shop, "ZOË", "lindqvist", "31405") == "zoe_lindqvist_7716"


def test_product_types_come_in_the_order_of_their_names(shop: Database) -> None:
    names = list(lookups.product_types(shop))
    assert names == sorted(names)
    assert len(names) == 7


def test_cancelling_gives_gift_card_money_back_at_once(shop: Database) -> None:
    order = changes.cancel_order(shop, PENDING_BY_GIFT_CARD, "no longer needed")
    assert order["status"] == "cancelled"
    assert order["cancel_reason"] == "no longer needed"
    assert [entry["transaction_type"] for entry in order["payment_history"]] == ["payment", "refund"]
    assert balance(shop, "zoe_lindqvist_7716", "gift_card_4430814") == 166.04


def test_cancelling_refunds_each_amount_once_after_the_payment_method_was_changed(shop: Database) -> None:
    changes.set_order_payment(shop, PENDING_BY_PAYPAL, "credit_card_4440731")
    order = changes.cancel_order(shop, PENDING_BY_PAYPAL, "ordered by mistake")
    entries = [(entry["transaction_type"], entry["payment_method_id"]) for entry in order["payment_history"]]
    assert entries == [
        ("payment", "paypal_4440748"),
        ("payment", "credit_card_4440731"),
        ("refund", "paypal_4440748"),
        ("refund", "credit_card_4440731"),
    ]


def test_changing_the_payment_method_moves_gift_card_money(shop: Database) -> None:
    order = changes.set_order_payment(shop, PENDING_BY_GIFT_CARD, "paypal_4430821")
    assert order["status"] == "pending"
    assert balance(shop, "zoe_lindqvist_7716", "gift_card_4430814") == 166.04
    changes.set_order_payment(shop, PENDING_BY_PAYPAL, "gift_card_4440755")
    assert balance(shop, "ifeoma_castellan_9034", "gift_card_4440755") == 12.85


def test_other_items_cost_their_unrounded_difference(shop: Database) -> None:
    order = changes.swap_pending_items(shop, PENDING_BY_GIFT_CARD, ["7311392948"], ["7311392962"], "gift_card_4430814")
    assert order["status"] == "pending (item modified)"
    assert order["items"][1]["item_id"] == "7311392962"
    assert order["items"][1]["options"] == {"blade": "10 cm", "handle": "birch"}
    assert order["payment_history"][1] == {
        "transaction_type": "payment",
        "amount": 31.25 - 29.99,
        "payment_method_id": "gift_card_4430814",
    }
    assert balance(shop, "zoe_lindqvist_7716", "gift_card_4430814") == 118.84


def test_cheaper_items_bring_a_refund(shop: Database) -> None:
    order = changes.swap_pending_items(shop, PENDING_BY_PAYPAL, ["7310951128"], ["7310951104"], "credit_card_4440731")
    assert order["payment_history"][1]["transaction_type"] == "refund"
    assert order["payment_history"][1]["amount"] == pytest.approx(24.3)


def test_items_of_one_order_can_change_places(shop: Database) -> None:
    cream, green = "7311060319", "7311060326"
    order = changes.swap_pending_items(shop, PENDING_BY_PAYPAL, [cream, green], [green, cream], "paypal_4440748")
    assert [item["item_id"] for item in order["items"]][2:] == [green, cream]


def test_an_item_held_twice_can_become_two_different_ones(shop: Database) -> None:
    order = changes.exchange_items(shop, DELIVERED, ["7311060319"] * 2, ["7311060326", "7311060319"], CARD)
    assert order["exchange_new_items"] == ["7311060319", "7311060326"]


def test_an_exchange_moves_neither_items_nor_money_yet(shop: Database) -> None:
    before = lookups.order(shop, DELIVERED)
    order = changes.exchange_items(shop, DELIVERED, ["7310842256"], ["7310842263"], GIFT_CARD)
    assert order["exchange_price_difference"] == 5.4
    assert (order["items"], order["payment_history"]) == (before["items"], before["payment_history"])
    assert balance(shop, "mira_halvorsen_3107", GIFT_CARD) == 15


def test_an_item_held_twice_can_be_returned_twice(shop: Database) -> None:
    order = changes.return_items(shop, DELIVERED, ["7311060319", "7310842256", "7311060319"], CARD)
    assert order["status"] == "return requested"
    assert order["return_items"] == ["7310842256", "7311060319", "7311060319"]


def test_a_new_default_address_leaves_orders_alone(shop: Database) -> None:
    before = lookups.order(shop, PENDING_BY_CARD)["address"]
    new = changes.address("1 New Street", "", "Salem", "OR", "USA", "97301")
    assert changes.set_user_address(shop, "mira_halvorsen_3107", new)["address"] == new
    assert lookups.order(shop, PENDING_BY_CARD)["address"] == before
    assert changes.set_order_address(shop, PENDING_BY_CARD, new)["address"] == new


def test_a_user_who_has_moved_is_found_at_the_new_address(shop: Database) -> None:
    new = changes.address("1 New Street", "", "Salem", "OR", "USA", "97301")
    changes.set_user_address(shop, "mira_halvorsen_3107", new)
    assert lookups.user_id_by_name_zip(shop, "Mira", "Halvorsen", "97301") == "mira_halvorsen_3107"


NOT_PENDING = "non-pending order cannot be modified"
NO_BALANCE = "insufficient gift card balance to pay for the"


@pytest.mark.parametrize(
    ("text", "request_", "arguments"),
    [
        ("user not found", lookups.user_id_by_email, ["nobody@example.com"]),
        ("user not found", lookups.user_id_by_name_zip, ["Mira", "Halvorsen", "00000"]),
        ("user not found", lookups.user, ["nobody"]),
        ("user not found", changes.set_user_address, ["nobody", {}]),
        ("order not found", lookups.order, ["W5100417"]),
        ("order not found", changes.cancel_order, ["#W0", "no longer needed"]),
        ("product not found", lookups.product, ["7310842256"]),
        ("non-pending order cannot be cancelled", changes.cancel_order, [PROCESSED, "no longer needed"]),
        ("invalid reason", changes.cancel_order, [PENDING_BY_CARD, "too dear"]),
        (NOT_PENDING, changes.set_order_address, [PROCESSED, {}]),
        (NOT_PENDING, changes.set_order_payment, [PROCESSED, "paypal_4420519"]),
        (NOT_PENDING, changes.swap_pending_items, [DELIVERED, [], [], CARD]),
        ("payment method not found", changes.set_order_payment, [PENDING_BY_CARD, "paypal_0"]),
        (
            "the new payment method should be different from the current one",
            changes.set_order_payment,
            [PENDING_BY_CARD, CARD],
        ),
        (f"{NO_BALANCE} order", changes.set_order_payment, [PENDING_BY_CARD, GIFT_CARD]),
        (
            f"{NO_BALANCE} new item",
            changes.swap_pending_items,
            [PENDING_BY_CARD, ["7310951104"], ["7310951111"], GIFT_CARD],
        ),
        (
            f"{NO_BALANCE} price difference",
            changes.exchange_items,
            [DELIVERED, ["7310842256", "7311060319"], ["7310842270", "7311060333"], GIFT_CARD],
        ),
        (
            "payment method not found",
            changes.swap_pending_items,
            [PENDING_BY_CARD, ["7310951104"], ["7310951111"], "paypal_4420519"],
        ),
        (
            "7310842256 not found",
            changes.swap_pending_items,
            [PENDING_BY_CARD, ["7310951104", "7310842256"], [], CARD],
        ),
        (
            "the number of items to be exchanged should match",
            changes.swap_pending_items,
            [PENDING_BY_CARD, ["7310951104"], [], CARD],
        ),
        (
            "new item 7311401157 not found or available",
            changes.swap_pending_items,
            [PENDING_BY_CARD, ["7310951104"], ["7311401157"], CARD],
        ),
        (
            "new item 7311060340 not found or available",
            changes.exchange_items,
            [DELIVERED, ["7311060319"], ["7311060340"], "paypal_0"],
        ),
        ("non-delivered order cannot be exchanged", changes.exchange_items, [PROCESSED, [], [], CARD]),
        ("non-delivered order cannot be returned", changes.return_items, [PENDING_BY_CARD, [], CARD]),
        ("payment method not found", changes.return_items, [DELIVERED, ["0"], "paypal_0"]),
        (
            "payment method should be either the original payment method or a gift card",
            changes.return_items,
            ["#W5100448", ["0"], "credit_card_4420526"],
        ),
        ("some item not found", changes.return_items, [DELIVERED, ["7311060319"] * 3, GIFT_CARD]),
    ],
)
def test_a_refusal_says_why_and_changes_nothing(
    shop: Database, text: str, request_: Callable[..., Any], arguments: list[Any]
) -> None:
    with pytest.raises(ToolError) as refusal:
        request_(shop, *arguments)
    assert str(refusal.value) == f"Error: {text}"
    assert shop.changed == {}


def test_a_payment_method_can_be_changed_once(shop: Database) -> None:
    changes.set_order_payment(shop, PENDING_BY_PAYPAL, "credit_card_4440731")
    with pytest.raises(ToolError, match="Error: there should be exactly one payment for a pending order"):
        changes.set_order_payment(shop, PENDING_BY_PAYPAL, "paypal_4440748")


def test_items_can_be_changed_once(shop: Database) -> None:
    changes.swap_pending_items(shop, PENDING_BY_CARD, ["7311401157"], ["7311401164"], CARD)
    with pytest.raises(ToolError, match="Error: non-pending order cannot be modified"):
        changes.swap_pending_items(shop, PENDING_BY_CARD, ["7310951104"], ["7310951111"], CARD)


async def test_the_model_gets_records_as_json_with_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETAIL_DATA", raising=False)
    tool = retail.tool("get_user_details")
    assert tool is not None
    output = await tool.call({"user_id": "zoe_lindqvist_7716"}, ToolContext("a-run-that-changes-nothing", "t", "t"))
    assert output.text.startswith('{"name": {"first_name": "Zo\\u00eb", "last_name": "Lindqvist"}, "address": {')


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('{"order_id": "#W5100424"}', "reason: Field required"),
        ('{"order_id": "#W5100424", "reason": "too dear"}', "reason: Input should be 'no longer needed' or"),
        ('{"order_id": 5100424, "reason": "no longer needed"}', "order_id: Input should be a valid string"),
        ('{"order_id": "#W5100424", "reason": "no longer needed", "now": true}', "now: Extra inputs"),
        ("order #W5100424", "Invalid JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_the_shop_sees_them(arguments: str, problem: str) -> None:
    tool = retail.tool("cancel_pending_order")
    assert tool is not None
    with pytest.raises(InvalidArguments, match=problem):
        tool.parse(arguments)


def test_only_the_transfer_to_a_person_ends_a_run() -> None:
    assert [tool.spec.name for tool in TOOLS if tool.spec.ends_run] == ["transfer_to_human_agents"]
