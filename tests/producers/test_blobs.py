"""The directory of files that runs refer to: what is put comes back whole, or it is said why not."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledgent.producers.blobs import DirectoryBlobs
from ledgent.schemas.errors import BlobLost, BlobsUnavailable, UsageError

CONTENT = b"\x00\xffbytes of any kind"


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "made" / "when needed")


def files_in(blobs: DirectoryBlobs) -> list[Path]:
    return [path for path in blobs.directory.rglob("*") if path.is_file()]


def test_what_is_put_comes_back(blobs: DirectoryBlobs) -> None:
    sha256 = blobs.put(CONTENT)
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert blobs.get(sha256) == CONTENT
    assert files_in(blobs) == [blobs.directory / sha256[:2] / sha256]


def test_the_same_bytes_are_kept_once_and_not_written_again(blobs: DirectoryBlobs) -> None:
    path = blobs.directory / blobs.put(CONTENT)[:2]
    (file,) = path.iterdir()
    before = file.stat()
    blobs.put(CONTENT)
    (file,) = path.iterdir()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nothing_is_looked_up_or_made_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = DirectoryBlobs()
    monkeypatch.setenv("LEDGENT_BLOBS", str(tmp_path / "named later"))
    assert not (tmp_path / "named later").exists()
    blobs.put(CONTENT)
    assert [path.parent.parent for path in files_in(blobs)] == [tmp_path / "named later"]


def test_missing_bytes_are_named(blobs: DirectoryBlobs) -> None:
    sha256 = blobs.put(CONTENT)
    (blobs.directory / sha256[:2] / sha256).unlink()
    with pytest.raises(BlobLost, match=f"{sha256} is missing; set LEDGENT_BLOBS"):
        blobs.get(sha256)


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT.replace(b"any", b"ANY")])
def test_damaged_bytes_are_not_handed_out(blobs: DirectoryBlobs, damage: bytes) -> None:
    sha256 = blobs.put(CONTENT)
    (blobs.directory / sha256[:2] / sha256).write_bytes(damage)
    with pytest.raises(BlobLost, match="is damaged"):
        blobs.get(sha256)


def test_a_file_that_was_cut_short_is_mended_by_the_next_put(blobs: DirectoryBlobs) -> None:
    sha256 = blobs.put(CONTENT)
    (blobs.directory / sha256[:2] / sha256).write_bytes(CONTENT[:3])
    blobs.put(CONTENT)
    assert blobs.get(sha256) == CONTENT


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63])
def test_only_a_digest_names_bytes(blobs: DirectoryBlobs, name: str) -> None:
    with pytest.raises(BlobLost, match="is no SHA-256"):
        blobs.get(name)


def test_a_place_that_cannot_be_written_says_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    blobs = DirectoryBlobs(tmp_path / "a file" / "blobs")
    with pytest.raises(BlobsUnavailable, match=r"cannot be kept: Not a directory: .*; set LEDGENT_BLOBS"):
        blobs.put(CONTENT)


def test_a_url_is_no_directory() -> None:
    with pytest.raises(UsageError, match="'s3://bucket' is no directory"):
        DirectoryBlobs("s3://bucket").put(CONTENT)


def test_a_writer_that_is_stopped_half_way_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """In a process that dies when it wants to sync the file: nobody may take its beginning for the whole."""
    code = (
        "import os, sys\n"
        "from ledgent.producers.blobs import DirectoryBlobs\n"
        "os.fsync = lambda handle: os._exit(9) if os.path.isfile(f'/proc/self/fd/{handle}') else None\n"
        "DirectoryBlobs(sys.argv[1]).put(b'x' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == 9
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name[0] for path in left] == ["."]
    sha256 = DirectoryBlobs(tmp_path).put(b"x" * 100_000)
    assert DirectoryBlobs(tmp_path).get(sha256) == b"x" * 100_000


def test_file_and_folders_are_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        synced.append((str(path.relative_to(tmp_path)), any(tmp_path.rglob("[0-9a-f]" * 64))))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    blobs = DirectoryBlobs(tmp_path / "blobs")
    shard = blobs.put(CONTENT)[:2]
    made, named = synced[:2], synced[2:]
    assert made == [(".", False), ("blobs", False)]
    assert [path.split("/.")[0] for path, _ in named] == [f"blobs/{shard}"] * 2
    assert [there for _, there in named] == [False, True]  # the bytes before the name is given, the name after
    synced.clear()
    blobs.put(CONTENT)
    assert synced == [(f"blobs/{shard}", True)]
