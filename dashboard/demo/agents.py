"""The demo's agents: real tools of the shop, and models that answer from a script."""

from ledgent.agent import Agent, Attempts, Call, Fail, Limits, Reply, ScriptedModel
from ledgent.agent.models.prices import Price
from ledgent.dashboard.demo import shop

MODEL = "scripted-mini"
BUSY = "scripted-busy"
"""It asks its callers to wait; all other runs would wait too if they asked the same model."""
PRICE = Price(input=2.5, output=10.0)
THINKING_S = 0.25


def _model(*turns: "str | Call | list[Call] | Reply | Fail | Attempts", name: str = MODEL) -> ScriptedModel:
    return ScriptedModel(turns, name=name, delay_s=THINKING_S, price=PRICE)


refunds = Agent(
    name="refunds",
    instructions="You refund orders of the shop when its rules allow it.",
    model=_model(
        Call("find_order", order_id="A-1004"),
        Call("check_return", order_id="A-1004"),
        Call("refund_order", order_id="A-1004", reason="the light flickers"),
        "I am sorry about the light. Your 64.00 USD are on their way back to you.",
    ),
    tools=[shop.find_order, shop.check_return, shop.refund_order],
)

restock = Agent(
    name="restock",
    instructions="You see to it that nothing runs out.",
    model=_model(
        [Call("check_stock", item=item) for item in ("brass-bell", "dynamo-light", "cork-grips")],
        Call("order_from_maker", item="brass-bell", pieces=24),
        "The brass bells were gone; 24 are on their way. Lights (3) and grips (41) will last the week.",
    ),
    tools=[shop.check_stock, shop.order_from_maker],
)

shipping = Agent(
    name="shipping",
    instructions="You send packed orders off.",
    model=_model(
        Call("find_order", order_id="A-1008"),
        Attempts(
            Fail("rate_limited", "429: too many requests, slow down", retry_after_s=0.6, status=429),
            Call("ship_order", order_id="A-1008", carrier="post"),
        ),
        "Order A-1008 has left by post; its tracking number is POST-1008-77.",
        name=BUSY,
    ),
    tools=[shop.find_order, shop.ship_order],
)

tracking = Agent(
    name="tracking",
    instructions="You tell customers where their orders are.",
    model=_model(
        Call("find_order", order_id="A-1031"),
        Call("find_order", order_id="A-1013"),
        "You meant A-1013: the brass bell is waiting for its maker and will be here in 5 days.",
    ),
    tools=[shop.find_order],
)

bargains = Agent(
    name="bargains",
    instructions="You compare our prices with those of other shops.",
    model=_model(
        *(
            Reply(f"Let me look at one more: {name}.", [Call("look_up_price", item="brass-bell", shop=name)])
            for name in ("Velo & Co", "Spoke House", "Ring Ring", "The Bell Jar", "Two Wheels", "Old Mill")
        )
    ),
    tools=[shop.look_up_price],
    limits=Limits(steps=4),
)

newsletter = Agent(
    name="newsletter",
    instructions="You write the shop's newsletter.",
    model=_model(Fail("auth", "401: the API key was refused; check it where it was issued", status=401)),
)

stocktaking = Agent(
    name="stocktaking",
    instructions="You have the shelves counted.",
    model=_model([Call("count_shelf", shelf=shelf) for shelf in ("A1", "B2")], "All is counted."),
    tools=[shop.count_shelf],
)

counter = Agent(
    name="counter",
    instructions="You stand at the counter and talk with customers.",
    model=_model(
        "Good morning! How can I help?",
        Call("check_stock", item="touring-saddle"),
        "Yes: 14 touring saddles are here, at 89.00 USD each.",
        "With pleasure. Ride safely!",
    ),
    tools=[shop.check_stock],
    conversational=True,
)
