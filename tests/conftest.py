"""What every test may ask for: the recorded runs, a browser, a Kafka broker; skipped loudly where they are missing."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Broker, KafkaMissing, fetch_libraries, find_java

# Contract suites are imported by test files: their asserts shall explain themselves as well.
pytest.register_assert_rewrite("tests.contracts")

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start from one and send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parent.parent
KAFKA_FIXTURES = {"kafka", "own_kafka", "secured_kafka"}
MISSING = "NOT TESTED, "
"""How the reason of a loud skip begins; pytest_terminal_summary looks for it."""


def _find_recorded_data() -> Path | None:
    folder = Path(os.environ.get("LEDGENT_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
    return folder.resolve() if (folder / "tau").is_dir() else None


def _find_chromium() -> Path | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((Path(path) for path in map(shutil.which, names) if path), None)


def _find_kafka() -> Path | None:
    try:
        find_java()
        return fetch_libraries()
    except KafkaMissing:
        return None


_REQUIREMENTS: dict[str, tuple[Callable[[], Path | None], str, str]] = {
    "browser": (_find_chromium, "no Chromium was found", "apt-get install chromium"),
    "data": (_find_recorded_data, "no recorded runs were found", "set LEDGENT_TEST_DATA to their folder"),
    "kafka": (
        _find_kafka,
        "no Kafka broker can be started",
        "apt-get install default-jre-headless maven (`make kafka` says more)",
    ),
}


def _required_names() -> set[str]:
    return {name.strip() for name in os.environ.get("LEDGENT_REQUIRE", "").split(",")} - {""}


def require(name: str) -> Path:
    """Where `browser`, `data` or `kafka` is. Without it the test is skipped, or fails if LEDGENT_REQUIRE names it."""
    find, what, remedy = _REQUIREMENTS[name]
    found = find()
    if found is not None:
        return found
    reason = f"{MISSING}{what}: {remedy}"
    if name in _required_names():
        pytest.fail(f"{reason} (LEDGENT_REQUIRE asks for it)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _blobs_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files that runs refer to go to a place of the tests, whichever process keeps them."""
    os.environ["LEDGENT_BLOBS"] = str(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded runs: LEDGENT_TEST_DATA, or `../shared/data` beside the checkout."""
    return require("data")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The executable of a Chromium, for playwright's `executable_path`."""
    return require("browser")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka broker: the one at LEDGENT_TEST_KAFKA, or one that lives as long as the tests.

    Tests share it, and tests of other processes may too: each takes topics and groups with names of its own.
    """
    if running := os.environ.get("LEDGENT_TEST_KAFKA"):
        yield running
        return
    require("kafka")
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.address()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test alone, which may stop, kill and start it."""
    require("kafka")
    with Broker(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that also listens behind a password (SASL PLAIN), TLS, and both."""
    require("kafka")
    with Broker(tmp_path_factory.mktemp("kafka"), protocols=("SASL_PLAINTEXT", "SSL", "SASL_SSL")) as broker:
        yield broker


def pytest_configure(config: pytest.Config) -> None:
    unknown = _required_names() - _REQUIREMENTS.keys()
    if unknown:
        known = ", ".join(_REQUIREMENTS)
        raise pytest.UsageError(f"LEDGENT_REQUIRE has {', '.join(sorted(unknown))}; known are {known}.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "chromium" in fixtures:
            item.add_marker(pytest.mark.browser)
        if "recorded_data" in fixtures:
            item.add_marker(pytest.mark.data)
        if not KAFKA_FIXTURES.isdisjoint(fixtures):
            item.add_marker(pytest.mark.kafka)
            item.add_marker(pytest.mark.slow)  # a broker takes seconds to start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips = (report.longrepr for report in terminalreporter.stats.get("skipped", ()))
    reasons = Counter(longrepr[2].removeprefix("Skipped: ") for longrepr in skips if isinstance(longrepr, tuple))
    for reason, tests in sorted(reasons.items()):
        if reason.startswith(MISSING):
            terminalreporter.write_line(f"{reason} (tests skipped: {tests})", yellow=True, bold=True)
