"""One event of each type, every field of it set to something that is not its default."""

from ledgent.schemas.agents import (
    AgentSpec,
    CircuitPolicy,
    Limits,
    ModelSpec,
    OutputSpec,
    RetryPolicy,
    Timeouts,
    ToolSpec,
)
from ledgent.schemas.context import Summarize
from ledgent.schemas.errors import ErrorCode, ErrorInfo
from ledgent.schemas.events import (
    AnyEvent,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    CheckpointSaved,
    ContextSummarized,
    ContextTrimmed,
    HistoryShared,
    MessageReceived,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    ModelCallToolRequested,
    ModelFellBack,
    OutputAccepted,
    OutputRejected,
    QuestionAnswered,
    QuestionAsked,
    RateLimitWaited,
    RetryScheduled,
    RunCancelled,
    RunCancelRequested,
    RunClaimed,
    RunCompleted,
    RunEndRequested,
    RunFailed,
    RunLimited,
    RunStarted,
    RunSuspended,
    ThoughtRecorded,
    TimerFired,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRejected,
    ToolCallReused,
    ToolCallStarted,
    ToolCallUncertain,
)
from ledgent.schemas.prices import LongPrompt, Price
from ledgent.schemas.recovery import Recovery
from ledgent.schemas.system_events import (
    AlertRaised,
    AlertResolved,
    AnySystemEvent,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    RecordDeadLettered,
)
from ledgent.schemas.terminators import (
    AllOf,
    AnyOf,
    CostBudget,
    Deadline,
    Predicate,
    StopWords,
    TokenBudget,
)
from ledgent.schemas.values import Cut, ForkedFrom, Imported, Part, RecordedCall, SharedMessage, ToolRequest, Usage

_USAGE = Usage(input_tokens=120, output_tokens=45, cached_tokens=100, reasoning_tokens=20)
_CUT = Cut(size=1_000_000, sha256="9f" * 32)
_PARTS = (
    Part(kind="image", media_type="image/png", sha256="ab" * 32, size=12_345, name="chart ü.png"),
    Part(kind="file", media_type="application/pdf", sha256="cd" * 32, size=54_321),
)
_ERROR = ErrorInfo(
    code=ErrorCode.RATE_LIMITED,
    message="slow down: ü €",
    retryable=True,
    retry_after_s=1.5,
    status=429,
    deadline="call",
)
_AGENT = AgentSpec(
    name="clerk",
    instructions="Be brief.\nBe “kind”.",
    model=ModelSpec(
        provider="openai",
        name="gpt-4o",
        base_url="https://models.example.com/v1",
        parameters={"temperature": 0.5, "max_tokens": 100, "stop": ["\n"], "logit_bias": None},
        stream=True,
        timeout_s=30.0,
        retry=RetryPolicy(attempts=2, first_s=0.25, max_s=4.0),
        context_window=128_000,
        timeouts=Timeouts(connect_s=2.0, first_token_s=20.0, between_tokens_s=5.0),
        circuit=CircuitPolicy(calls=20, rate=0.75, window_s=20.0, open_s=5.0),
        requests_per_minute=500,
        tokens_per_minute=30_000,
        concurrency=8,
        price=Price(
            input=2.5,
            output=10.0,
            cached_input=1.25,
            cache_write=3.0,
            cache_write_1h=5.0,
            long_prompt=LongPrompt(tokens=100_000, input=5.0, output=20.0),
            as_of="2026-01-02",
        ),
    ),
    tools=(
        ToolSpec(
            name="pay",
            description="Pays.",
            parameters={
                "type": "object",
                "properties": {"amount": {"type": "integer", "description": "In cents."}},
                "required": ["amount"],
            },
            timeout_s=5.0,
            idempotent=True,
            attempts=3,
            approval=True,
            ends_run=True,
            concurrency=2,
            resources=("printer", "till"),
            service="bank",
            circuit=CircuitPolicy(calls=5, rate=0.25, window_s=30.0, open_s=10.0),
            asks=True,
            max_result_chars=2_000,
            on_uncertain="stop",
        ),
    ),
    limits=Limits(
        steps=9, tokens=10_000, cost_usd=0.75, seconds=60.0, tool_calls=20, repeats=3, idle_steps=2, step_seconds=9.5
    ),
    policy="react",
    text_protocol=True,
    output=OutputSpec(
        name="Receipt", json_schema={"type": "object", "properties": {"usd": {"type": "number"}}}, attempts=2
    ),
    terminators=(
        StopWords(words=("STOP",)),
        AnyOf(of=(TokenBudget(tokens=9_000), AllOf(of=(CostBudget(usd=0.5), Deadline(seconds=50.5))))),
        Predicate(function="shop.rules:sold_out", parameters={"left": 0}, source="ab" * 32),
    ),
    conversational=True,
    context=Summarize(at=0.7, keep=0.25, instructions="Name all “orders”."),
    recovery=(Recovery(code=ErrorCode.CONTENT_FILTERED, again="backoff", then="stop"),),
    fallbacks=(ModelSpec(provider="scripted", name="script"),),
    fallback_s=5.0,
    on_uncertain="ask_person",
)

SAMPLES: tuple[AnyEvent, ...] = (
    RunClaimed(reason="taken_over"),
    RunStarted(
        request_id="0197f0a2-0000-7000-8000-000000000001",
        agent=_AGENT,
        input="hello \u2028 “you” 😀",
        limits=Limits(
            steps=5, tokens=5_000, cost_usd=0.5, seconds=30.5, tool_calls=9, repeats=2, idle_steps=1, step_seconds=8.5
        ),
        session="session-1",
        labels={"team": "blue", "größe": "ü"},
        forked_from=ForkedFrom(
            run_id="0197f0a2-0000-7000-8000-00000000000b",
            seq=7,
            digest="ab" * 32,
            messages=3,
            model_calls=2,
            tools="recorded",
            allowed=("look_up",),
            calls=2,
            upto=31,
            edited=(0, 3),
            model="gpt-4o-mini",
            changed=("model", "limits"),
        ),
        files=_PARTS,
        imported=Imported(source="openai", sha256="ab" * 32, left_out=2),
    ),
    RunSuspended(reason="input"),
    MessageReceived(request_id="0197f0a2-0000-7000-8000-000000000002", text='more\x00\x1f\x7f\\"', files=_PARTS[:1]),
    RunEndRequested(request_id="0197f0a2-0000-7000-8000-000000000003"),
    RunCancelRequested(request_id="0197f0a2-0000-7000-8000-000000000004", reason="changed my mind"),
    TimerFired(timer_seq=7),
    ApprovalRequested(call_id="m1.t0", name="pay", arguments='{"usd":5}'),
    ApprovalGranted(request_id="request-7", call_id="m1.t0", by="Ada"),
    ApprovalDenied(request_id="request-7", call_id="m1.t0", by="Ada", message="This call was not allowed."),
    QuestionAsked(call_id="m1.t0", question="Where to?", choices=("Berlin", "Zürich")),
    QuestionAnswered(request_id="request-8", call_id="m1.t0", text="Zürich", by="Ada"),
    CheckpointSaved(name="paid", request_id="request-9", call_id="m1.t0"),
    HistoryShared(
        messages=(
            SharedMessage(role="user", text="hello", parts=_PARTS),
            SharedMessage(
                role="assistant",
                text="hm",
                tool_calls=(ToolRequest(call_id="m1.t0", provider_id="call_1", name="pay", arguments="{}"),),
            ),
            SharedMessage(role="tool", text="paid", provider_id="call_1"),
        ),
        output="hm!",
        calls=(
            RecordedCall(
                call_id="m2.t0",
                name="pay",
                arguments='{"usd":5}',
                result="paid: ü",
                completed=True,
                parts=_PARTS,
                whole=_PARTS[1],
            ),
        ),
    ),
    ToolCallReused(
        call_id="m3.t0",
        name="pay",
        reused_from="m2.t0",
        result="paid: ü",
        completed=True,
        files=_PARTS,
        whole=_PARTS[1],
    ),
    ThoughtRecorded(
        call_id="m1",
        thought="I should look.",
        action=ToolRequest(call_id="m1.t0", provider_id="m1.t0", name="look_up", arguments="{}"),
        answer="nothing",
    ),
    OutputAccepted(output='{"usd":4.5}'),
    OutputRejected(attempt=1, message="Your answer does not fit: usd: Field required."),
    RunCompleted(output="done", reason="the answer says 'STOP'"),
    RunFailed(error=_ERROR),
    RunCancelled(reason="changed my mind"),
    RunLimited(limit="cost_usd", bound=0.5, used=0.625),
    ModelCallStarted(
        call_id="m2", attempt=3, provider="openai", model="gpt-4o", request_digest="ab" * 32, purpose="summary", upto=12
    ),
    ModelCallCompleted(
        call_id="m2",
        attempt=3,
        text="Let me see.",
        reasoning="hm",
        tool_calls=(
            ToolRequest(call_id="m2.t0", provider_id="call_1", name="pay", arguments='{"amount": 1}'),
            ToolRequest(call_id="m2.t1", provider_id="call_1", name="pay", arguments="{not JSON"),
        ),
        usage=_USAGE,
        cost_usd=0.0125,
        finish_reason="tool_calls",
        model="gpt-4o-2024-08-06",
        response_id="chatcmpl-1",
        first_token_ms=12.5,
        duration_ms=250.25,
        cut=_CUT,
        purpose="summary",
    ),
    ModelCallToolRequested(
        call_id="m2",
        attempt=3,
        request=ToolRequest(call_id="m2.t1", provider_id="call_8", name="pay", arguments='{"amount": 1}'),
    ),
    ModelCallFailed(
        call_id="m2",
        attempt=3,
        error=_ERROR,
        usage=_USAGE,
        cost_usd=0.0125,
        duration_ms=250.25,
        maybe_usage=Usage(input_tokens=900, output_tokens=100),
        maybe_cost_usd=0.005,
    ),
    ToolCallStarted(call_id="m2.t0", attempt=2, name="pay", arguments='{"amount": 1}', idempotency_key="run/m2.t0"),
    ToolCallCompleted(
        call_id="m2.t0", attempt=2, result='{"paid":true}', duration_ms=1.5, files=_PARTS, whole=_PARTS[1]
    ),
    ToolCallFailed(call_id="m2.t0", attempt=2, error=_ERROR, duration_ms=1.5, cut=_CUT),
    ToolCallRejected(
        call_id="m2.t1",
        name="pey",
        reason="unknown_tool",
        message="There is no tool named 'pey'. Did you mean pay?",
        suggestions=("pay",),
    ),
    ToolCallUncertain(call_id="m2.t0", attempt=2, message="It may have happened.", then="ask_person"),
    ContextSummarized(call_id="s1", upto=12, summary="They want #1 “back”.", tokens_before=90_000, tokens_after=40_000),
    ContextTrimmed(start=12, shortened=(14, 17), longest=2_000, tokens_before=90_000, tokens_after=40_000),
    RetryScheduled(call_id="m2", attempt=4, delay_s=0.375, code=ErrorCode.RATE_LIMITED),
    RateLimitWaited(call_id="m2", attempt=1, delay_s=2.5, reason="tokens", upto=12),
    ModelFellBack(
        call_id="m2", attempt=5, from_model="gpt-4o", to_model="script", index=1, reason=ErrorCode.QUOTA_EXHAUSTED
    ),
)

SYSTEM_SAMPLES: tuple[AnySystemEvent, ...] = (
    AlertRaised(
        alert_id="stalled/0197f0a2-0000-7000-8000-00000000000a/7",
        kind="stalled",
        subject_run_id="0197f0a2-0000-7000-8000-00000000000a",
        message="It stands still: ü €",
    ),
    AlertResolved(
        alert_id="stalled/0197f0a2-0000-7000-8000-00000000000a/7",
        subject_run_id="0197f0a2-0000-7000-8000-00000000000a",
    ),
    RecordDeadLettered(
        topic="ledgent.events",
        partition=3,
        offset=12_345,
        reason="the bytes are no record: they hold no event",
        subject_run_id="0197f0a2-0000-7000-8000-00000000000a",
    ),
    CircuitOpened(circuit="model:openai/gpt-4o", calls=12, failures=9, open_s=30.5, reason=ErrorCode.TIMEOUT),
    CircuitHalfOpened(circuit="model:openai/gpt-4o"),
    CircuitClosed(circuit="model:openai/gpt-4o"),
)
