"""What verification found, on the terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from ledgent.agent import Agent
from ledgent.agent.divergence import Certificate, code_version
from ledgent.agent.verify import verify
from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import note, progress, say, write_json, write_rows
from ledgent.dashboard.exporting import write_whole
from ledgent.schemas.codec import decode
from ledgent.schemas.errors import BadRecord
from ledgent.schemas.events import RunClaimed, RunStarted
from ledgent.schemas.ports import History

PROGRESS_FROM = 50
"""Runs to verify: fewer are done before a bar could be read."""


def write_certificates(
    history: History, run_ids: Sequence[str], output: Output, file: Path | None, agents: Mapping[str, Agent]
) -> bool:
    """Verifies the runs and tells of each; whether all are as they were written.

    `agents`: by these, where they have the names that the runs were made under; `file`: the certificates as JSON, whole
    or not at all.
    """
    with progress("Verifying") as bar:
        many = len(run_ids) >= PROGRESS_FROM
        found = [_verified(history, run_id, agents) for run_id in (bar.track(run_ids) if many else run_ids)]
    wrong = [certificate for certificate in found if not certificate.ok]
    code, at = code_version(), datetime.now(UTC).isoformat(timespec="seconds")
    rows = [{**certificate._asdict(), "ok": certificate.ok, "code": code, "verified_at": at} for certificate in found]
    if file is not None:
        write_whole(file, [orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)])
        note(f"{len(rows):,} certificates written to {file}")
    if output is not Output.TABLE:
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
        return not wrong
    for certificate in found if len(found) == 1 else wrong:
        say(_certified(certificate))
    if len(found) != 1:
        records = sum(certificate.records for certificate in found)
        imported = sum(certificate.verdict == "imported" for certificate in found)
        good = f"{len(found) - len(wrong) - imported:,} runs verified"
        elsewhere = f", {imported:,} imported and whole" if imported else ""
        say(f"{len(found):,} runs, {records:,} records: {good}{elsewhere}")
    if wrong:
        note(f"ledgent: {len(wrong):,} of {len(found):,} runs could not be verified")
    return not wrong


def _verified(history: History, run_id: str, agents: Mapping[str, Agent]) -> Certificate:
    if not agents:
        return verify(history, run_id)
    name = _agent_name(history, run_id)
    return verify(history, run_id, agents[name].spec if name in agents else None)


def _agent_name(history: History, run_id: str) -> str:
    """The name of the agent that a run says it is of; empty where its beginning cannot be read."""
    try:
        for stored in history.records(run_id):
            event = decode(stored).event
            if isinstance(event, RunStarted):
                return event.agent.name
            if not isinstance(event, RunClaimed):
                break
    except BadRecord:
        pass
    return ""


def _certified(certificate: Certificate) -> str:
    run_id, good = certificate.run_id, f"{certificate.records:,} records"
    if not certificate.ok:
        return f"run {run_id}: {certificate.verdict} at record {certificate.seq}: {certificate.reason}"
    if certificate.verdict == "imported":
        return f"run {run_id}: imported: {good} whole and in order; nothing was decided here, so nothing is again"
    whole = "complete" if certificate.complete else f"complete up to record {certificate.records}"
    return (
        f"run {run_id}: verified: {good} whole and in order, {whole}; {certificate.decisions:,} decisions made again "
        f"alike; head {certificate.head_digest[:16]}"
    )
