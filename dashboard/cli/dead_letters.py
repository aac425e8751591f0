"""`ledgent dlq`: what readers of a log on Kafka could not read, and put aside."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledgent.dashboard.cli.options import LogUrl, Output, OutputAs

if TYPE_CHECKING:
    from ledgent.producers.kafka.letter_box import Letter

app = typer.Typer(name="dlq", help="Dead letters: messages on Kafka that could not be read.", no_args_is_help=True)

LetterId = Annotated[str, typer.Argument(metavar="LETTER", help="As `dlq list` names it: events:3:17.")]
BYTES_A_LINE = 16


@app.command("list")
def list_(output: OutputAs = Output.TABLE, log: LogUrl = None) -> None:
    """Each message that was put aside: where it stands, when it was put aside and why."""
    from ledgent.dashboard.cli.output import say, write_rows, write_table
    from ledgent.dashboard.cli.topics import address_given
    from ledgent.producers.kafka.letter_box import dead_letters
    from ledgent.schemas.settings import KafkaSettings

    found = dead_letters(address_given(log), KafkaSettings())
    if output is not Output.TABLE:
        write_rows(map(_as_json, found), output)
    elif not found:
        say("There are no dead letters.")
    else:
        rows = [
            (id, f"{letter.at.astimezone():%Y-%m-%d %H:%M:%S}", len(letter.value or b""), letter.reason)
            for id, letter in found
        ]
        write_table(("letter", "put aside", "bytes", "reason"), rows, right=("bytes",), wide="reason")


@app.command()
def show(letter: LetterId, output: OutputAs = Output.TABLE, log: LogUrl = None) -> None:
    """One message, byte for byte, with its key and headers."""
    from ledgent.dashboard.cli.output import say, write_json, write_rows
    from ledgent.dashboard.cli.topics import address_given
    from ledgent.dashboard.timeline import printable
    from ledgent.producers.kafka.letter_box import Letter, dead_letter
    from ledgent.schemas.settings import KafkaSettings

    found = dead_letter(address_given(log), KafkaSettings(), letter)
    if output is Output.JSON:
        write_json(_as_json(Letter(letter, found)))
    elif output is Output.JSONL:
        write_rows([_as_json(Letter(letter, found))], output)
    else:
        say(f"{found.topic}, partition {found.partition}, offset {found.offset}")
        say(f"put aside {found.at.astimezone():%Y-%m-%d %H:%M:%S}: {printable(found.reason)}")
        say(f"key: {_readable(found.key)}")
        for name, value in found.headers:
            say(f"{printable(name)}: {_readable(value)}")
        say(f"\n{_dump(found.value or b'')}")


@app.command()
def retry(letter: LetterId, log: LogUrl = None) -> None:
    """Deliver a message again that this version of ledgent can read: after an upgrade, say.

    A request is submitted again. A record is appended again if its run still stands where it was written. What is still
    unreadable, or would come too late, is left alone.
    """
    import asyncio

    from ledgent.dashboard.cli.output import say
    from ledgent.dashboard.cli.topics import address_given
    from ledgent.dashboard.logs import opened_log
    from ledgent.producers.kafka.letter_box import dead_letter, deliver_again
    from ledgent.schemas.settings import KafkaSettings

    address = address_given(log)
    found = dead_letter(address, KafkaSettings(), letter)
    with opened_log(address.url) as opened:
        run_id = asyncio.run(deliver_again(opened, address, found))
    say(f"Delivered again, to run {run_id}.")


def _as_json(found: "Letter") -> dict[str, Any]:
    """With the bytes in base64: they need not be text."""
    from base64 import b64encode

    letter = found.letter
    return {
        "letter": found.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "put_aside": letter.at,
        "reason": letter.reason,
        "key": _readable(letter.key),
        "headers": {name: _readable(value) for name, value in letter.headers},
        "value_base64": b64encode(letter.value or b"").decode(),
    }


def _readable(value: bytes | None) -> str:
    from ledgent.dashboard.timeline import printable

    return printable((value or b"").decode(errors="backslashreplace"))


def _dump(value: bytes) -> str:
    """The bytes as hexadecimal numbers and as characters."""
    lines = []
    for at in range(0, len(value), BYTES_A_LINE):
        part = value[at : at + BYTES_A_LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):<{3 * BYTES_A_LINE}} {shown}")
    return "\n".join(lines)
