"""docker-compose.yml and the Dockerfile, as far as they can be tested without an engine."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import chdb
import pytest
import yaml
from pydantic_settings import BaseSettings

from ledgent.schemas import settings
from tests.conftest import MISSING

CHECKOUT = Path(__file__).resolve().parents[2]
LEDGENT = Path(sys.executable).with_name("ledgent")
OURS = "ledgent:local"
ROOMS = {"schemas", "producers", "processors", "agent", "dashboard"}
TEXT = (CHECKOUT / "docker-compose.yml").read_text()
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]


def names(*, ours: bool) -> list[str]:
    return [name for name, service in SERVICES.items() if (service["image"] == OURS) == ours]


def commands() -> list[list[str]]:
    """What follows `ledgent`, as a service's command or as its health check."""
    found = [SERVICES[name]["command"] for name in names(ours=True)]
    checks = [service["healthcheck"]["test"] for service in SERVICES.values() if "healthcheck" in service]
    return found + [check[2:] for check in checks if check[:2] == ["CMD", "ledgent"]]


@cache
def help_of(command: str) -> str:
    done = subprocess.run([LEDGENT, *command.split(), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_all_that_a_platform_needs() -> None:
    assert set(SERVICES) == {"kafka", "clickhouse", "topics", "worker", "processors", "sink", "dashboard"}
    assert names(ours=False) == ["kafka", "clickhouse"]
    assert [name for name, service in SERVICES.items() if "build" in service] == ["topics"], "built once, before all"


def test_every_image_is_pinned() -> None:
    images = [SERVICES[name]["image"] for name in names(ours=False)] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(images) == 4
    assert [image for image in images if not re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", image)] == []


def test_the_servers_are_those_that_the_tests_know() -> None:
    pom = (CHECKOUT / "tests" / "kafka" / "pom.xml").read_text()
    version = re.search("<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"
    year, month, *_ = chdb.engine_version.split(".")
    assert SERVICES["clickhouse"]["image"] == f"clickhouse/clickhouse-server:{year}.{month}"


def test_what_stays_says_whether_it_is_well_and_what_is_waited_for_can_come() -> None:
    staying = {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == staying
    assert set(SERVICES) - staying == {"topics"}
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            expected = "service_healthy" if other in staying else "service_completed_successfully"
            assert wait["condition"] == expected, other


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_become_more_than_it_is(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "network_mode" not in service
    if service["image"] == OURS:
        assert service["read_only"] is True
        assert "user" not in service, "the image says who it is"


def test_our_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)", DOCKERFILE.rpartition("\nFROM ")[2], re.M)
    assert users != []
    assert int(users[-1].partition(":")[0]) > 0


def test_nobody_outside_of_this_machine_is_let_in() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_variable_of_ours_is_a_setting() -> None:
    classes = [kind for _, kind in inspect.getmembers(settings, inspect.isclass) if issubclass(kind, BaseSettings)]
    known = {f"{kind.model_config.get('env_prefix')}{name}".upper() for kind in classes for name in kind.model_fields}
    used = set(re.findall(r"\bLEDGENT_[A-Z_]+", TEXT + DOCKERFILE))
    assert {"LEDGENT_LOG", "LEDGENT_STORE", "LEDGENT_AGENTS"} <= used
    assert used - known == set()


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_ours_is_there(command: list[str]) -> None:
    words = [word for word in command if not word.startswith("-")]
    explained = help_of(" ".join(words))
    assert f"ledgent {' '.join(words)} " in explained
    assert [word for word in command if word.startswith("-") and word not in explained] == []


def test_the_image_is_made_of_files_that_are_there_and_that_the_engine_is_given() -> None:
    copies = [shlex.split(line) for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.M)]
    sources = {source for *from_here, _ in copies for source in from_here}
    assert sources >= ROOMS
    assert [source for source in sources if not (CHECKOUT / source).exists()] == []
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == sources


def test_compose_itself_understands_the_file() -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip(f"{MISSING}there is no docker-compose: apt-get install docker-compose")
    done = subprocess.run(
        [compose, "--file", str(CHECKOUT / "docker-compose.yml"), "config"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)["services"]
    assert understood["sink"]["environment"]["LEDGENT_STORE"].endswith("@clickhouse:8123/ledgent")
    assert "$" not in done.stdout, "a variable within a variable's default is not for every compose"
