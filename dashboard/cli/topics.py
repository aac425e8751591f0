"""`ledgent topics`: the topics of a log on Kafka, made and checked."""

from typing import TYPE_CHECKING

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs

if TYPE_CHECKING:
    from ledgent.producers.kafka.wire import Address

app = typer.Typer(name="topics", help="The topics of a log on Kafka: make or check them.", no_args_is_help=True)


@app.command()
def create(output: OutputAs = Output.TABLE, log: LogUrl = None) -> None:
    """Make the topics that are missing, and give the others their retention; partitions stay as they are.

    LEDGENT_KAFKA_PARTITIONS and LEDGENT_KAFKA_REPLICATION say how many partitions and copies new topics get.
    """
    from ledgent.dashboard.cli.output import write_rows, write_table
    from ledgent.producers.kafka.topics import create as make
    from ledgent.schemas.settings import KafkaSettings

    made = make(address_given(log), KafkaSettings())
    if output is Output.TABLE:
        write_table(("topic", "partitions", "replication", "done"), made, right=("partitions", "replication"))
    else:
        write_rows((each._asdict() for each in made), output)


@app.command()
def check(output: OutputAs = Output.TABLE, log: LogUrl = None) -> None:
    """Say what is wrong with the topics, and what mends it; exit code 1 if the log cannot be used so."""
    from ledgent.dashboard.cli.output import note, say, write_rows
    from ledgent.producers.kafka.topics import check as flaws_of
    from ledgent.schemas.settings import KafkaSettings

    address = address_given(log)
    flaws = flaws_of(address, KafkaSettings())
    if output is not Output.TABLE:
        write_rows((flaw._asdict() for flaw in flaws), output)
    elif not flaws:
        say(f"The topics of {address.url} are as they should be.")
    else:
        for flaw in flaws:
            say(f"{'WRONG' if flaw.serious else 'NOTE'}  {flaw.topic} {flaw.what}")
            say(f"       {flaw.mend}")
    if any(flaw.serious for flaw in flaws):
        note("ledgent: the log cannot be used so")
        raise typer.Exit(1)


def address_given(log: str | None) -> "Address":
    """Where the log is. Raises UsageError for one that is not on Kafka."""
    from ledgent.dashboard.logs import settings_for
    from ledgent.producers.kafka.wire import address_of
    from ledgent.schemas.errors import UsageError

    url = settings_for(log).log
    if not url.startswith("kafka://"):
        raise UsageError(
            f"the log {url} is not on Kafka and has neither topics nor dead letters; "
            "name one with --log or LEDGENT_LOG=kafka://host:port"
        )
    return address_of(url)
