"""Runs as JSON lines that keep every stored byte. Reads the log; knows no terminal."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from ledgent.schemas.codec import export_line
from ledgent.schemas.errors import UnknownRun, UsageError
from ledgent.schemas.ports import History


def export_lines(history: History, run_ids: Iterable[str]) -> Iterator[bytes]:
    """Each run's records, then its head as the log keeps it; the list of all heads last. Raises UnknownRun."""
    heads = []
    for run_id in run_ids:
        found = history.head(run_id)
        if found is None:
            raise UnknownRun(run_id)
        head = {"run_id": run_id, "seq": found.guard.seq, "digest": found.guard.digest}
        for stored in history.records(run_id):
            yield export_line(stored)
        yield _line(head)
        heads.append(head)
    yield _line({"heads": heads})


def write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Writes the file beside its place and moves it there when it is whole. Raises UsageError where that cannot be."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            file.writelines(lines)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"nothing can be written to {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _line(value: object) -> bytes:
    return orjson.dumps(value) + b"\n"
