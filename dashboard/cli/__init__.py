"""The `ledgent` command: its groups, and the edge where an error becomes one line and an exit code.

Everything heavy is imported inside the commands, so that help and errors come at once.
"""

import logging
import os
import sys

import typer
import typer.main

from ledgent.dashboard.cli import (
    dead_letters,
    demo,
    doctor,
    logs,
    model_server,
    processes,
    run_acting,
    run_comparing,
    run_forking,
    run_importing,
    run_reading,
    schema,
    sql,
    stats,
    store,
    topics,
)

INTERRUPTED = 130
BROKEN_PIPE = 141

app = typer.Typer(
    name="ledgent",
    help="Run AI agents whose every step is an event on a log, and look at them.",
    epilog="Exit codes: 0 done, 1 the run or check failed, 2 wrong usage, 3 a component is unreachable, 130 Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help at once: rich would take twice as long to import as all the rest
    pretty_exceptions_enable=False,
)
run = typer.Typer(name="run", help="Start, follow, inspect, verify and export runs.", no_args_is_help=True)

app.command("demo", short_help="Watch agents run, without a key or a server.")(demo.demo)
app.command("up", short_help="Run store, worker and dashboard in one place.")(processes.up)
app.command("worker", short_help="Work on the runs of your agents.")(processes.worker)
app.command("processors", short_help="Compute metrics and run states of a log on Kafka.")(processes.processors)
app.command("sink", short_help="Follow the log into the store, and nothing else.")(processes.sink)
app.command("dashboard", short_help="Serve the dashboard only.")(processes.dashboard)
app.command("model-server", short_help="Serve a scripted model, for tests.")(model_server.model_server)
app.command("doctor", short_help="Say whether everything is in place.")(doctor.doctor)
app.command("sql", short_help="Ask the store in SQL.")(sql.sql)
app.command("stats", short_help="Questions about cost, speed and errors that have names.")(stats.stats)
app.add_typer(run)
app.add_typer(logs.app)
app.add_typer(store.app)
app.add_typer(topics.app)
app.add_typer(dead_letters.app)
app.add_typer(schema.app)

run.command("start", short_help="Start a run, here or by a worker.")(run_acting.start)
run.command("list")(run_reading.list_)
run.command("show", short_help="One run step by step, or its state at any point.")(run_reading.show)
run.command("tail", short_help="The latest events, and those that come.")(run_reading.tail)
run.command("send")(run_acting.send)
run.command("end")(run_acting.end)
run.command("cancel")(run_acting.cancel)
run.command("approve", short_help="Allow a tool call that waits for it.")(run_acting.approve)
run.command("deny", short_help="Do not allow a tool call that waits.")(run_acting.deny)
run.command("answer")(run_acting.answer)
run.command("checkpoint", short_help="Give a run's state a name.")(run_acting.checkpoint)
run.command("restore", short_help="A new run that begins as another one stood.")(run_forking.restore)
run.command("fork", short_help="A new run from a point of another, something otherwise.")(run_forking.fork)
run.command("diff", short_help="Where two runs part, and what each step took.")(run_comparing.diff)
run.command("verify", short_help="Check that runs are whole and decided as recorded.")(run_reading.verify)
run.command("result", short_help="The whole result of a tool call.")(run_reading.result)
run.command("export", short_help="Write runs as JSON lines, byte for byte.")(run_reading.export)
run.command("import", short_help="Put exported runs into this log.")(run_importing.import_)


@app.callback(invoke_without_command=True)
def _whole(version: bool = typer.Option(False, "--version", help="Say which version this is.")) -> None:
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"ledgent {installed('ledgent')}\n")
        raise typer.Exit


def main() -> int:
    """Runs the command line; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal's encoding lacks is no reason to stop
    if not os.environ.get("LEDGENT_DEBUG"):
        # What it says of a broker that is away comes as one error, or is mended by waiting.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        _log_as_asked()
        # Not `app()`, which has ways of its own to end a program.
        command = typer.main.get_command(app)
        with command.make_context("ledgent", sys.argv[1:]) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as left:
        return left.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough. What is still buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("LEDGENT_DEBUG"):
            raise
        raise SystemExit(_told(error)) from None


def _log_as_asked() -> None:
    """LEDGENT_LOG_FORMAT=json: what is logged, and what is told on stderr, is a JSON object a line."""
    form = os.environ.get("LEDGENT_LOG_FORMAT") or "text"
    if form == "json":
        from ledgent.dashboard.log_lines import log_as_json

        log_as_json()
    elif form != "text":
        from ledgent.schemas.errors import UsageError

        raise UsageError(f"LEDGENT_LOG_FORMAT is {form!r}: text and json are")


def _told(error: Exception) -> int:
    """Says in one line what went wrong; the exit code."""
    from ledgent.dashboard.cli.errors import explained

    text, code = explained(error)
    if os.environ.get("LEDGENT_LOG_FORMAT") == "json":
        logging.getLogger("ledgent").error(text)
    else:
        sys.stderr.write(f"{text}\n")
    return code
