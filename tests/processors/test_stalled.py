from msgspec.structs import replace

from ledgent.processors.progress import Progress
from ledgent.processors.run_states import RunEntry, decode_entry, encode_entry
from ledgent.processors.stalled import Stalled, alert_on
from ledgent.schemas.events import MessageReceived, RunClaimed, RunCompleted, RunSuspended
from ledgent.schemas.system_events import AlertResolved
from tests.processors.chain import Chain
from tests.processors.tables import Rows, folded, places

HERE = frozenset({0})


def entry_of(chain: Chain) -> RunEntry:
    table: Rows = {}
    folded(places(chain.records), table, {})
    return decode_entry(table[chain.run_id.encode()])


def test_a_run_that_has_not_moved_for_too_long_is_found() -> None:
    stalled = Stalled(after_s=10)
    stalled.saw(entry_of(Chain("slow").start()), now=0)
    stalled.saw(entry_of(Chain("quick").start()), now=1)
    stalled.saw(entry_of(Chain("slow").start()), now=5)
    assert stalled.overdue(11, HERE) == []
    assert stalled.overdue(12, HERE) == ["quick"]
    assert stalled.overdue(16, HERE) == ["quick", "slow"]


def test_a_run_that_waits_for_its_user_is_not_stalled_and_one_that_nobody_takes_over_is() -> None:
    stalled = Stalled(after_s=10)
    waits, left, ended = Chain("waits").start(), Chain("left").start(), Chain("ended").start()
    waits.put(RunSuspended(reason="input"))
    left.put(RunSuspended(reason="handed_over"))
    ended.put(RunCompleted())
    for chain in (waits, left, ended):
        stalled.saw(entry_of(chain), now=0)
    assert stalled.overdue(100, HERE) == ["left"]
    waits.put(MessageReceived(request_id="r", text="hello?"))
    left.put(RunClaimed(reason="taken_over"))
    left.put(RunCompleted())
    for chain in (waits, left):
        stalled.saw(entry_of(chain), now=100)
    assert stalled.overdue(200, HERE) == ["waits"]


def test_nothing_is_said_of_runs_whose_newest_records_may_not_have_been_read() -> None:
    stalled = Stalled(after_s=10)
    stalled.saw(entry_of(Chain("a").start()), now=0)
    assert stalled.overdue(100, frozenset({1, 2})) == []


def test_an_alert_is_raised_once_and_is_over_when_the_run_moves() -> None:
    stalled, chain = Stalled(after_s=10), Chain("a").start()
    table: Rows = {}
    folded(places(chain.records), table, {})
    entry = decode_entry(table[b"a"])
    stalled.saw(entry, now=0)
    alert = alert_on(entry, 10)
    assert (alert.alert_id, alert.kind, alert.subject_run_id) == ("stalled/a/2", "stalled", "a")
    entry = replace(entry, alert=alert.alert_id)
    table[b"a"] = encode_entry(entry)
    stalled.saw(entry, now=11)
    assert stalled.overdue(1_000, HERE) == []
    chain.put(RunCompleted())
    done = folded(places(chain.records)[2:], table, {})
    assert done.alerts == [AlertResolved(alert_id="stalled/a/2", subject_run_id="a")]
    assert decode_entry(table[b"a"]).alert == ""


def test_health_is_red_when_there_is_lag_and_no_progress_for_a_while() -> None:
    progress = Progress(now=0, stuck_s=60)
    progress.assigned({0: 10, 1: -1}, now=1)
    progress.ends({0: 20, 1: -1}, now=2)
    assert (progress.trouble(50), progress.lag()) == ("", 10)
    progress.ends({0: 20, 1: -1}, now=62)
    assert "partition 0 has stood at offset 10 of 20" in progress.trouble(62)
    progress.folded(0, 15, now=63)
    assert progress.trouble(64) == ""
    progress.folded(0, 20, now=65)
    for now in (66, 126, 186):
        progress.ends({0: 20, 1: -1}, now=now)
        assert (progress.trouble(now), progress.read()) == ("", frozenset({0, 1}))


def test_health_is_red_when_the_broker_says_nothing() -> None:
    progress = Progress(now=0, stuck_s=60)
    assert progress.trouble(1) == "starting"
    assert "has not said" in progress.trouble(61)
    progress.assigned({0: 5}, now=61)
    progress.ends({0: 5}, now=62)
    assert progress.trouble(100) == ""
    assert "has not said" in progress.trouble(123)


def test_records_that_were_passed_over_keep_it_red() -> None:
    progress = Progress(now=0, stuck_s=60)
    progress.assigned({0: 5}, now=0)
    progress.ends({0: 9}, now=1)
    progress.lost(0, 6, 8)
    progress.folded(0, 9, now=1)
    assert progress.trouble(2) == "offsets 6 to 8 of partition 0 were never folded"
