"""What verification found, on the terminal."""

from collections.abc import Sequence

from ledgent.agent.verify import Certificate, verify
from ledgent.dashboard.cli.options import Output
from ledgent.dashboard.cli.output import note, progress, say, write_json, write_rows
from ledgent.schemas.ports import History

PROGRESS_FROM = 50
"""Runs to verify: fewer are done before a bar could be read."""


def write_certificates(history: History, run_ids: Sequence[str], output: Output) -> bool:
    """Verifies the runs and tells of each; whether all are as they were written."""
    with progress("Verifying") as bar:
        many = len(run_ids) >= PROGRESS_FROM
        found = [verify(history, run_id) for run_id in (bar.track(run_ids) if many else run_ids)]
    wrong = [certificate for certificate in found if not certificate.ok]
    if output is not Output.TABLE:
        rows = [certificate._asdict() | {"ok": certificate.ok} for certificate in found]
        write_json(rows) if output is Output.JSON else write_rows(rows, output)
        return not wrong
    for certificate in found if len(found) == 1 else wrong:
        say(_certified(certificate))
    if len(found) != 1:
        records = sum(certificate.records for certificate in found)
        say(f"{len(found):,} runs, {records:,} records: {len(found) - len(wrong):,} runs verified")
    if wrong:
        note(f"ledgent: {len(wrong):,} of {len(found):,} runs could not be verified")
    return not wrong


def _certified(certificate: Certificate) -> str:
    run_id, good = certificate.run_id, f"{certificate.records:,} records"
    if not certificate.ok:
        return f"run {run_id}: {certificate.verdict} at record {certificate.seq}: {certificate.reason}"
    whole = "complete" if certificate.complete else f"complete up to record {certificate.records}"
    return (
        f"run {run_id}: verified: {good} whole and in order, {whole}; {certificate.decisions:,} decisions made again "
        f"alike; head {certificate.head_digest[:16]}"
    )
