"""What the processes that stay tell of themselves, and of the runs that they work on."""

from typing import TYPE_CHECKING

from ledgent.agent.writing import OnRecord
from ledgent.dashboard.cli.output import say, write_line
from ledgent.dashboard.cli.run_pages import STATUS_STYLES
from ledgent.dashboard.log_lines import log_of_runs, logs_json
from ledgent.dashboard.logs import without_password
from ledgent.dashboard.timeline import one_line, short_id, what_of_the_run
from ledgent.schemas.codec import Recorded

if TYPE_CHECKING:
    from ledgent.dashboard.serving import Plan, Serving

_TOLD = {
    "run.started": "running",
    "run.suspended": "suspended",
    "run.completed": "completed",
    "run.failed": "failed",
    "run.limited": "limited",
    "run.cancelled": "cancelled",
}


def write_ready(plan: "Plan", serving: "Serving") -> None:
    """What is up, and where."""
    shared = "" if serving.follows else " (another process keeps it up with the log)"
    facts = {
        "Dashboard": serving.address,
        "Log": plan.settings.log,
        "Store": without_password(plan.settings.store) + shared,
    }
    if not plan.may_share:
        none = "none; `ledgent up --agents my.module` runs those that a module of yours defines"
        facts["Agents"] = ", ".join(plan.agents) or none
    say()
    for name, value in facts.items():
        say(f"  {name:<10} {value}")
    say("\nCtrl-C stops.")


def run_lines() -> OnRecord:
    """A line for each run that starts, waits or ends; in the log, where that is JSON."""
    from rich.text import Text

    if logs_json():
        return log_of_runs(frozenset(_TOLD))

    def tell(record: Recorded) -> None:
        status = _TOLD.get(record.event.type)
        if status is None:
            return
        text = Text(f"{record.at.astimezone():%H:%M:%S} {short_id(record.run_id)} ", style="dim")
        text.append(f"{status:<10}", style=STATUS_STYLES[status])
        text.append(one_line(what_of_the_run(record.event), 200))
        write_line(text)

    return tell
