import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.retail import changes, lookups, tools
from examples.retail.database import RECORDS
from ledgent.agent import ToolContext, ToolError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
ORDER = "#W5100424"
USERS = ["mira_halvorsen_3107", "tobias_okonjo_5528", "zoe_lindqvist_7716", "ifeoma_castellan_9034"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RETAIL_DATA", raising=False)
    monkeypatch.setenv("RETAIL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def cancel(run_id: str) -> None:
    with RECORDS.write(run_id) as shop:
        changes.cancel_order(shop, ORDER, "no longer needed")


def status(run_id: str) -> str:
    text: str = lookups.order(RECORDS.read(run_id), ORDER)["status"]
    return text


def in_another_process(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "RETAIL_DATA"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_each_run_has_its_own_shop() -> None:
    cancel("run-1")
    assert (status("run-1"), status("run-2")) == ("cancelled", "pending")


def test_another_process_finds_what_a_run_has_changed() -> None:
    cancel("run-1")
    done = in_another_process("from examples.retail.database import RECORDS; print(RECORDS.canonical_sha256('run-1'))")
    assert done.stdout.strip() == RECORDS.canonical_sha256("run-1")


def test_a_run_that_changes_nothing_has_no_file(state: Path) -> None:
    status("run-1")
    with pytest.raises(ToolError), RECORDS.write("run-1") as shop:
        changes.cancel_order(shop, "#W5100455", "no longer needed")
    assert not state.exists()


def test_a_change_that_breaks_off_keeps_nothing() -> None:
    def cancel_both() -> None:
        with RECORDS.write("run-1") as shop:
            changes.cancel_order(shop, ORDER, "no longer needed")
            changes.cancel_order(shop, "#W5100455", "no longer needed")

    with pytest.raises(ToolError):
        cancel_both()
    assert status("run-1") == "pending"


def test_a_file_holds_only_what_was_changed(state: Path) -> None:
    cancel("run-1")
    (file,) = state.iterdir()
    assert list(json.loads(file.read_text(encoding="utf-8"))["changed"]["orders"]) == [ORDER]


def test_calls_at_the_same_time_lose_no_write() -> None:
    def move(number: int) -> None:
        address = changes.address(f"{number} New Street", "", "Salem", "OR", "USA", "97301")
        with RECORDS.write("run-1") as shop:
            changes.set_user_address(shop, USERS[number % len(USERS)], address)
            shop.answers[f"call-{number}"] = "moved"

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(move, range(64)))
    shop = RECORDS.read("run-1")
    assert len(shop.answers) == 64
    assert len(shop.changed["users"]) == len(USERS)


def test_a_call_made_again_after_a_crash_changes_nothing_more(state: Path) -> None:
    def cancelled(call_id: str) -> str:
        context = ToolContext("run-1", call_id, f"run-1/{call_id}")
        answer: str = tools.cancel_pending_order("#W5100462", "no longer needed", context)
        return answer

    first = cancelled("m1.t0")
    written = [file.stat().st_ino for file in state.iterdir()]
    assert cancelled("m1.t0") == first
    assert [file.stat().st_ino for file in state.iterdir()] == written
    with pytest.raises(ToolError, match="Error: non-pending order cannot be cancelled"):
        cancelled("m2.t0")


def test_changes_of_a_run_leave_the_start_records_alone() -> None:
    before = json.dumps(RECORDS.start())
    with RECORDS.write("run-1") as shop:
        changes.swap_pending_items(shop, "#W5100462", ["7311392948"], ["7311392962"], "gift_card_4430814")
        changes.set_order_payment(shop, "#W5100486", "credit_card_4440731")
        changes.cancel_order(shop, "#W5100486", "no longer needed")
    assert json.dumps(RECORDS.start()) == before


def test_a_forgotten_run_starts_anew() -> None:
    untouched = RECORDS.canonical_sha256("run-1")
    cancel("run-1")
    assert RECORDS.canonical_sha256("run-1") != untouched
    RECORDS.forget("run-1")
    assert RECORDS.canonical_sha256("run-1") == untouched
    RECORDS.forget("run-1")


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    untouched = RECORDS.canonical_sha256("run-1")
    with RECORDS.write("run-1") as shop:
        address = lookups.user(shop, USERS[0])["address"]
        changes.set_user_address(shop, USERS[0], dict(reversed(address.items())))
    assert RECORDS.canonical_sha256("run-1") == untouched


def test_run_ids_from_outside_stay_in_the_state_folder(state: Path) -> None:
    run_ids = [
        "run",
        "RUN",
        "../run",
        "a/b",
        "/etc/passwd",
        "",
        ".",
        "run.json",
        "x" * 5000,
        "z\x00",
        "ü",
        "\ud800",
    ]
    for run_id in run_ids:
        cancel(run_id)
        assert status(run_id) == "cancelled"
    assert len(list(state.iterdir())) == len(run_ids)
    assert list(state.parent.iterdir()) == [state]


def test_the_demo_shop_is_announced_once() -> None:
    done = in_another_process("from examples.retail.database import RECORDS as r; r.start(); r.read('a'); r.read('b')")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("RETAIL_DATA is not set: using the demo shop.")


def test_a_folder_without_a_shop_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"cannot read .*orders\.json: .*Set RETAIL_DATA to a folder with"):
        RECORDS.load(tmp_path)
    (tmp_path / "orders.json").write_text("{", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"cannot read .*orders\.json: Expecting property name"):
        RECORDS.load(tmp_path)
