"""A traveller served by the airline's agent on a scripted model: what the model is told, and what is kept."""

import json
from pathlib import Path

import pytest

from examples.airline import airline
from examples.airline.database import RECORDS
from ledgent.agent import Call, ScriptedModel
from ledgent.producers.memory import MemoryLog
from ledgent.schemas.events import ToolCallFailed
from ledgent.schemas.state import Status, ToolResult
from tests.agent.recorded import check_run, events_of

FLIGHT = {"flight_number": "LG407", "date": "2024-05-16"}
OTTO = {"first_name": "Otto", "last_name": "Brandvold", "dob": "1994-06-30"}


def book(amount: int) -> Call:
    return Call(
        "book_reservation",
        user_id="otto_brandvold_7730",
        origin="BOS",
        destination="DEN",
        flight_type="one_way",
        cabin="economy",
        flights=[dict(FLIGHT)],
        passengers=[dict(OTTO)],
        payment_methods=[{"payment_id": "gift_card_7730352", "amount": amount}],
        total_baggages=1,
        nonfree_baggages=0,
        insurance="no",
    )


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AIRLINE_DATA", raising=False)
    monkeypatch.setenv("AIRLINE_STATE", str(tmp_path))
    return tmp_path


async def test_a_traveller_is_served_until_a_person_takes_over(state: Path) -> None:
    script = ScriptedModel(
        [
            [
                Call("get_user_details", user_id="otto_brandvold_7730"),
                Call("search_direct_flight", origin="BOS", destination="DEN", date="2024-05-16"),
            ],
            "LG407 costs 187 dollars. Shall I book it?",
            book(178),
            book(187),
            "You are booked: HATHAT.",
            Call("transfer_to_human_agents", summary="Wants a window seat."),
        ]
    )
    log = MemoryLog()
    async with airline.but(model=script).conversation(log=log) as chat:
        await chat.send("I am otto_brandvold_7730. To Denver, please, on the 16th.")
        answer = await chat.send("Yes.")
        last = await chat.send("I want a seat at the window.")
    assert answer.output == "You are booked: HATHAT."
    assert last.status == Status.COMPLETED
    told = [message.text for message in chat.state.messages if isinstance(message, ToolResult)]
    assert told[2] == "Error: payment amount does not add up, total price is 187, but paid 178"
    assert json.loads(told[3])["reservation_id"] == "HATHAT"
    assert told[4] == "Transfer successful"
    assert len(events_of(log, chat.run_id, ToolCallFailed)) == 1
    check_run(log, chat.run_id)


def runs_with_files(state: Path) -> list[str]:
    return [file.stem for file in state.iterdir()]


async def test_a_run_leaves_its_changes_in_a_file_of_its_own(state: Path) -> None:
    booked, other = [
        airline.but(model=ScriptedModel([call, "Done."])) for call in (book(187), Call("think", thought="?"))
    ]
    async with booked.conversation(log=MemoryLog()) as first, other.conversation(log=MemoryLog()) as second:
        await first.send("Book it.")
        await second.send("What do you think?")
    assert runs_with_files(state) == [first.run_id]
    assert RECORDS.read(first.run_id).find("reservations", "HATHAT") is not None
    assert RECORDS.read(second.run_id).find("reservations", "HATHAT") is None


def test_a_folder_without_an_airline_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"The airline example cannot read .*flights\.json: .*Set AIRLINE_DATA to a"):
        RECORDS.load(tmp_path)
