"""The pages in a real browser, served by real Streamlit, reading a real store that another process owns."""

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from ledgent.schemas.codec import export_line, import_line
from ledgent.schemas.run import replay
from tests.browser.showcase import DANGER, Showcase
from tests.browser.site import PATIENCE_S, Site, Town, Visitor, browser_at, until
from tests.processors import chain as chains

pytestmark = pytest.mark.slow

LONG_STEPS = 1_250
"""Model calls of the long run, each with a tool call: two pages of spans, eleven of records."""

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    yield town
    town.leave()


@pytest.fixture(scope="module")
def made(town: Town) -> dict[str, str]:
    """The ids of the runs, by name."""
    made = town.do(Showcase().fill(town.log))
    fenced = chains.Chain("fenced-run")
    chains.taken_over(fenced)
    town.put([*fenced.records[:5], *chains.zombies_of(fenced), *fenced.records[5:]])
    long = chains.Chain("long-run").start()
    for number in range(1, LONG_STEPS + 1):
        long.asks(f"m{number}")
        long.answers(f"m{number}", tools=["find"])
        long.calls(f"m{number}.t0")
        long.returns(f"m{number}.t0")
    town.put(long.records)
    until(lambda: town.store.query("SELECT count() AS n FROM runs FINAL")[0]["n"] == len(made) + 2, "all runs")
    return {**made, "fenced": "fenced-run", "long": "long-run"}


@pytest.fixture(scope="module")
def site(town: Town, made: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(town.store_url, tmp_path_factory.mktemp("site"))
    try:
        site.ready()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright, browser_at(playwright, chromium) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, site: Site, pictures: Path) -> Iterator[Visit]:
    """Opens an address in a new browser session; afterwards none may have asked anybody but the site."""
    visitors: list[Visitor] = []

    def visit(query: str = "", scheme: str = "light") -> Visitor:
        visitors.append(Visitor(browser, site.address, pictures, scheme))
        visitors[-1].visit(query)
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.leave()


# --- the list of runs ----------------------------------------------------------------------------------


def test_the_list_shows_every_run_with_its_figures(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit()
    expect(visitor.rows()).to_have_count(len(made))
    visitor.sees(
        f"{len(made)} of {len(made)} runs", "auth: Incorrect API key provided.", "reached its limit of 3 steps"
    )
    row = visitor.page.locator("tr", has_text="Plan an evening in Vienna")
    expect(row).to_contain_text("Completed")
    expect(row).to_contain_text("2 failed")
    expect(row).to_contain_text("$0.0084")
    assert visitor.picture("runs-light").stat().st_size > 10_000


def test_filters_search_and_order_live_in_the_url(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit()
    visitor.page.get_by_role("button", name="Failed").click()
    visitor.is_at(status="failed")
    visitor.sees(f"2 of {len(made)} runs")
    visitor.page.get_by_role("button", name="Limited").click()
    visitor.sees(f"3 of {len(made)} runs")
    visitor.page.get_by_role("button", name="support").click()
    visitor.is_at(agent="support")
    visitor.sees(f"1 of {len(made)} runs")
    visitor.page.go_back()
    visitor.is_at(agent=None)
    visitor.sees(f"3 of {len(made)} runs")
    visitor.page.get_by_role("searchbox").fill("SOURCE")
    visitor.is_at(q="SOURCE")
    visitor.sees("reached its limit of 3 steps")
    shared = visit(visitor.page.url.removeprefix(visitor.address))
    expect(shared.rows()).to_have_count(1)
    expect(shared.page.get_by_role("searchbox")).to_have_value("SOURCE")
    shared.page.get_by_role("searchbox").fill("no such thing")
    shared.page.get_by_role("button", name="Clear the filters").click()
    shared.sees(f"{len(made)} of {len(made)} runs")
    shared.page.get_by_role("button", name="Retries").click()
    shared.is_at(sort="retries")
    expect(shared.rows().first).to_contain_text("Plan an evening in Vienna")
    shared.page.get_by_role("button", name="Retries ↓").click()
    shared.is_at(dir="asc")


def test_a_click_opens_the_run_and_back_leads_to_the_list_as_it_was(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit("?agent=planner")
    expect(visitor.rows()).to_have_count(2)
    visitor.page.get_by_role("table").get_by_text("Plan an evening in Vienna").click()
    visitor.is_at(run=made["concert"])
    visitor.sees("Completed after", "Model calls")
    expect(visitor.page).to_have_title(f"planner {made['concert'][-8:]} - ledgent")
    visitor.page.go_back()
    visitor.is_at(run=None, agent="planner")
    expect(visitor.rows()).to_have_count(2)
    visitor.page.get_by_role("table").get_by_text("Plan an evening in Vienna").click()
    visitor.page.get_by_role("button", name="Runs").click()
    visitor.is_at(run=None, agent="planner")
    expect(visitor.rows()).to_have_count(2)


# --- one run -------------------------------------------------------------------------------------------


def test_the_waterfall_shows_attempts_waits_and_errors_and_a_span_tells_its_story(
    visit: Visit, made: dict[str, str]
) -> None:
    visitor = visit(f"?run={made['concert']}", "dark")
    rows = visitor.page.locator(".row")
    expect(rows).to_have_count(15)
    visitor.sees("attempt 3", "Wait before retry", "rate_limited", "server_error", "unknown_tool")
    expect(visitor.page.locator(".strip.retry_wait")).to_have_count(2)
    expect(visitor.page.locator(".strip.error")).to_have_count(3)
    visitor.page.locator(".row", has_text="find_tables").click()
    visitor.sees("Arguments", '"after": "22:00"', "Zum Schwarzen Kameel has a table for 4", "Idempotency key", "Digest")
    permalink = visitor.page.url
    assert "span=" in permalink
    visitor.picture("run-dark")
    again = visit(permalink.removeprefix(visitor.address))
    again.sees("Zum Schwarzen Kameel has a table for 4")
    expect(again.page.locator(".row.chosen")).to_contain_text("find_tables")
    again.page.get_by_role("button", name="Replay").click()
    again.is_at(tab="replay")
    again.sees("tool_call.completed")


def test_the_waterfall_obeys_the_keyboard(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit(f"?run={made['concert']}")
    tree = visitor.page.get_by_role("tree")
    expect(visitor.page.locator(".row")).to_have_count(15)
    tree.focus()
    for key in ("Home", "ArrowDown", "ArrowLeft"):
        tree.press(key)
    expect(visitor.page.locator(".row")).to_have_count(12)
    tree.press("ArrowRight")
    expect(visitor.page.locator(".row")).to_have_count(15)
    tree.press("ArrowDown")
    tree.press("Enter")
    visitor.sees("Tool call m1.t0")
    tree.press("z")
    expect(visitor.page.get_by_role("button", name="Show all")).to_be_visible()
    tree.press("Escape")
    expect(visitor.page.get_by_role("button", name="Show all")).to_be_hidden()


def test_a_failed_run_says_why_and_what_to_do(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit(f"?run={made['refused']}")
    visitor.sees("Failed after", "Incorrect API key provided.", "export OPENAI_API_KEY=...")
    visitor.picture("run-failed-light")
    limited = visit(f"?run={made['limited']}")
    limited.sees("it reached its limit of 3 model calls: used 3", "Limits(steps=...)")
    waiting = visit(f"?run={made['waiting']}")
    waiting.sees("Waits for the next message", f'ledgent run send {made["waiting"][-8:]} "..."')
    cancelled = visit(f"?run={made['cancelled']}")
    cancelled.sees("changed my mind")


def test_every_record_is_there_with_its_payload(visit: Visit, town: Town, made: dict[str, str]) -> None:
    visitor = visit(f"?run={made['retried']}&tab=events")
    records = list(town.log.records(made["retried"]))
    expect(visitor.rows()).to_have_count(len(records))
    visitor.page.locator("tr", has_text="retry.scheduled").click()
    visitor.sees('"code": "rate_limited"', "Caused by record", "Digest of the bytes")
    scheduled = next(stored for stored in records if b'"retry.scheduled"' in stored.body)
    visitor.sees(scheduled.digest)
    visitor.picture("events-light")
    linked = visit(visitor.page.url.removeprefix(visitor.address))
    expect(linked.page.locator("tr.chosen")).to_contain_text("retry.scheduled")
    linked.page.locator("[aria-label=Events]").press("ArrowDown")
    linked.sees('"timer_seq"')


def test_records_that_nobody_counts_are_shown_and_marked(visit: Visit) -> None:
    visitor = visit("?run=fenced-run&tab=events")
    expect(visitor.page.locator("tr.left-out")).to_have_count(2)
    visitor.sees("2 records by a writer that did not hold the run", "fenced")
    visitor.page.locator("tr.left-out").first.click()
    visitor.sees("Fenced: its writer did not hold the run", "zombie")


def test_the_replay_steps_through_the_states(visit: Visit, town: Town, made: dict[str, str]) -> None:
    visitor = visit(f"?run={made['recovered']}&tab=replay&seq=4")
    stored = list(town.log.records(made["recovered"]))
    assert replay(made["recovered"], stored[:4]).state.spent.steps == 1
    visitor.sees("State after record 4", "model_call.completed", f"4 of {len(stored)}")
    expect(visitor.page.locator(".lg-jl.lg-changed", has_text='"seq": 4')).to_be_visible()
    visitor.page.get_by_role("button", name="Next").click()
    visitor.is_at(seq="5")
    visitor.sees("State after record 5", "Changed by record 5")
    visitor.page.get_by_role("button", name="Previous").click()
    visitor.is_at(seq="4")
    visitor.page.get_by_role("button", name="Last").click()
    visitor.sees(f"State after record {len(stored)}", "run.completed", '"status": "completed"')
    visitor.page.get_by_role("button", name="First").click()
    visitor.is_at(seq="1")
    visitor.sees("run.claimed")
    visitor.page.keyboard.press("ArrowRight")
    visitor.sees("State after record 2")
    slider = visitor.page.locator("input[type=range]").first
    slider.focus()
    slider.press("ArrowRight")
    visitor.is_at(seq="3")
    visitor.sees("State after record 3")
    visitor.picture("replay-light")


def test_the_download_is_the_log_byte_for_byte(visit: Visit, town: Town, made: dict[str, str], tmp_path: Path) -> None:
    visitor = visit(f"?run={made['concert']}")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Download .jsonl").click()
    download.value.save_as(tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_bytes().splitlines(keepends=True)
    stored = list(town.log.records(made["concert"]))
    assert lines == [export_line(one) for one in stored]
    assert [import_line(line) for line in lines] == stored
    assert json.loads(lines[0])["type"] == "run.claimed"


def test_what_a_model_says_stays_text_on_every_page(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit()
    visitor.sees("Show me ![a picture](https://pictures.invalid/secret.png)")
    for tab in ("timeline", "events", "conversation", "replay"):
        visitor.visit(f"?run={made['danger']}&tab={tab}&seq=4")
        visitor.sees("![a picture](https://pictures.invalid/secret.png)" if tab != "replay" else "State after record 4")
        visitor.settles()
        for details in visitor.page.locator("details").all():
            details.evaluate("element => element.open = true")
        visitor.page.wait_for_timeout(300)
        assert "owned" not in visitor.page.title()
        assert visitor.page.locator("img[src*='pictures'], img[src='x'], a[href^='javascript']").count() == 0
    visitor.visit(f"?run={made['danger']}&tab=conversation")
    visitor.sees("The run completed")
    assert visitor.page.locator(".lg-text", has_text=DANGER).count() >= 3
    visitor.picture("danger-light")
    assert not any("pictures.invalid" in url for url in visitor.asked)


# --- runs that are long, or not over -------------------------------------------------------------------


def test_a_run_of_thousands_of_spans_is_paged_and_says_so(visit: Visit) -> None:
    visit("?run=long-run").sees("Under way")
    began = time.monotonic()
    visitor = visit("?run=long-run")
    visitor.sees("Spans 1 to 2,000 of 2,500 are shown.")
    assert time.monotonic() - began < 20  # on a busy machine; measured when idle: about two seconds
    assert visitor.page.locator(".row").count() < 60
    visitor.page.get_by_role("tree").focus()
    visitor.page.get_by_role("tree").press("End")
    visitor.sees("m1000.t0")
    visitor.page.get_by_role("button", name="Next page").click()
    visitor.sees("Spans 2,001 to 2,500 of 2,500 are shown.")
    events = visit("?run=long-run&tab=events&seq=5002")
    events.sees("Records 5,001 to 5,002 of 5,002 are shown.")
    expect(events.page.locator("tr.chosen")).to_contain_text("tool_call.completed")


def test_a_run_at_work_grows_under_the_readers_eyes(visit: Visit, town: Town, made: dict[str, str]) -> None:
    visitor = visit()
    expect(visitor.rows()).to_have_count(len(made))
    work = town.start(Showcase().watch(town.log, answers=16))
    visitor.sees("Watch the news.")
    visitor.page.get_by_text("Watch the news.").click()
    visitor.sees("Under way")
    expect(visitor.page.locator(".strip.open").first).to_be_visible()
    before = visitor.page.locator(".row").count()
    visitor.page.locator(".row").nth(2).click()
    visitor.sees("Tool call m1.t0")
    until(lambda: visitor.page.locator(".row").count() > before or visitor.page.wait_for_timeout(100), "more spans")
    visitor.sees("Tool call m1.t0")
    visitor.picture("live-light")
    work.result()
    visitor.sees("Stopped after")
    expect(visitor.page.locator(".strip.open")).to_have_count(0)


# --- when something is missing -------------------------------------------------------------------------


def test_an_unknown_run_says_what_to_do(visit: Visit) -> None:
    visitor = visit("?run=no-such-run")
    visitor.sees("Unknown run", "The store holds no run 'no-such-run'", "ledgent run list")
    visitor.picture("unknown-light")
    visit("?run=").sees("No run chosen")


OWNER = """
import sys
from ledgent.processors.store import open_store
with open_store(sys.argv[1], stay=True):
    sys.stdin.read()
"""


def test_a_store_that_is_down_is_named_and_found_again_when_it_is_back(
    browser: Browser, pictures: Path, tmp_path: Path
) -> None:
    url = f"chdb:///{tmp_path / 'store'}"
    site = Site(url, tmp_path)
    try:
        site.ready()
        visitor = Visitor(browser, site.address, pictures, "dark")
        visitor.visit()
        visitor.sees("The store does not answer", "No process serves the store", "ledgent up")
        visitor.picture("down-dark")
        assert not (tmp_path / "store").exists()
        with subprocess.Popen([sys.executable, "-c", OWNER, url], stdin=subprocess.PIPE) as owner:
            try:
                visitor.sees("No runs yet", "make demo", "ledgent run start")
                visitor.picture("empty-dark")
            finally:
                owner.terminate()
        visitor.sees("The store does not answer")
        visitor.leave()
    finally:
        site.stop()


def test_a_page_that_pretends_to_be_this_machine_gets_nothing(site: Site) -> None:
    connection = http.client.HTTPConnection(site.address.removeprefix("http://").rstrip("/"), timeout=PATIENCE_S)
    connection.request("GET", "/", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 421
    connection.close()


def test_the_server_has_nothing_to_complain_about(site: Site) -> None:
    assert "Traceback" not in site.output()
    assert "Warning" not in site.output()


# --- two runs side by side -----------------------------------------------------------------------------


def test_a_run_is_compared_with_another_at_an_address_of_its_own(visit: Visit, made: dict[str, str]) -> None:
    visitor = visit(f"?run={made['recovered']}")
    visitor.page.get_by_text("Compare", exact=True).click()
    visitor.is_at(tab="compare")
    visitor.sees("Choose a run to compare this one with.")
    visitor.page.get_by_role("combobox").click()
    visitor.page.get_by_role("option", name=re.compile(made["retried"][-8:])).click()
    visitor.is_at(**{"with": made["retried"]})
    visitor.sees("They part at step 1 of", "First divergence", "Where is my order 4711?", "Refund order 4711, please.")
    expect(visitor.page.locator(".lg-parts")).to_have_count(1)
    assert visitor.picture("compare-light").stat().st_size > 10_000
    shared = visit(visitor.page.url.removeprefix(visitor.address))
    shared.sees("They part at step 1 of")
    shared.page.go_back()
    gone = visit(f"?run={made['recovered']}&tab=compare&with=nobody")
    gone.sees("The store holds no run 'nobody'.")
