"""Whatever happens to a run, in whatever order: `decide` and `evolve` never fail, and it stays within its limits."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ledgent.schemas.agents import AgentSpec, Limits
from tests.agent.playing import LIMITS, SPECS, Play


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), SPECS, LIMITS)
def test_a_run_survives_whatever_happens_and_stays_within_its_limits(
    seed: int, spec: AgentSpec, limits: Limits
) -> None:
    Play(seed, spec, limits).on()
