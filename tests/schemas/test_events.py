"""The language: what every event class must be."""

import math

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from ledgent.schemas import run
from ledgent.schemas.events import EVENT_CLASSES, TERMINAL_TYPES, AnyEvent, RunLimited
from ledgent.schemas.state import TERMINAL, RunState, Status
from ledgent.schemas.values import Usage
from tests.schemas.strategies import events


@pytest.mark.parametrize("cls", EVENT_CLASSES.values(), ids=EVENT_CLASSES)
class TestEveryClass:
    def test_its_type_is_a_noun_and_what_happened_to_it(self, cls: type[AnyEvent]) -> None:
        noun, _, past = cls.model_fields["type"].default.partition(".")
        assert noun.isidentifier()
        assert past.isidentifier()
        assert cls.__name__ == "".join(part.title() for part in f"{noun}_{past}".split("_"))

    def test_it_is_frozen_and_takes_no_unknown_field(self, cls: type[AnyEvent]) -> None:
        assert cls.model_config.get("frozen") is True
        assert cls.model_config.get("extra") == "forbid"
        assert cls.model_config.get("allow_inf_nan") is False

    def test_it_has_a_version_and_a_reducer(self, cls: type[AnyEvent]) -> None:
        assert cls.version >= 1
        assert cls.model_fields["type"].default in run._REDUCERS


def test_there_is_no_reducer_for_anything_else() -> None:
    assert run._REDUCERS.keys() == EVENT_CLASSES.keys()


@settings(max_examples=50, deadline=None)
@given(event=events())
def test_no_event_can_be_changed(event: AnyEvent) -> None:
    with pytest.raises(ValidationError):
        event.type = "other"  # type: ignore[assignment,misc]


def test_each_terminal_type_has_its_status() -> None:
    assert {f"run.{status}" for status in TERMINAL} == TERMINAL_TYPES
    assert TERMINAL.isdisjoint({Status.NEW, Status.RUNNING, Status.SUSPENDED})


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_cannot_write_are_refused(number: float) -> None:
    with pytest.raises(ValidationError):
        RunLimited(limit="seconds", bound=number, used=1)


@pytest.mark.parametrize("number", [-1, 2**53])
def test_token_counts_that_cannot_be_are_refused(number: int) -> None:
    with pytest.raises(ValidationError):
        Usage(input_tokens=number)


def test_a_state_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        RunState("run-1").seq = 3  # type: ignore[misc]
