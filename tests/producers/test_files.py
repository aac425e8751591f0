"""Files on their way to a model: their types, their bounds, and what refers to them."""

import os
import socket
from pathlib import Path

import pytest

from ledgent.agent import File, Image
from ledgent.producers.blobs import DirectoryBlobs
from ledgent.producers.files import MAX_FILE_BYTES, is_textual, kept_files
from ledgent.schemas.errors import FileRefused, UsageError

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
PDF = b"%PDF-1.7\n%\xe2\xe3"


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


@pytest.mark.parametrize(
    ("name", "content", "kind", "media_type"),
    [
        ("a.png", PNG, "image", "image/png"),
        ("a.jpg", PNG, "image", "image/png"),  # what it is, not what it is called: providers refuse a wrong type
        (None, b"\xff\xd8\xff\xe0 jpeg", "image", "image/jpeg"),
        (None, b"GIF89a gif", "image", "image/gif"),
        (None, b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image", "image/webp"),
        (None, b"RIFF\x10\x00\x00\x00WAVEfmt \xff", "file", "application/octet-stream"),
        ("b.pdf", PDF, "file", "application/pdf"),
        (None, PDF, "file", "application/pdf"),
        ("notes.txt", b"hello", "file", "text/plain"),
        ("data.csv", b"a,b\n1,2", "file", "text/csv"),
        ("data.json", b"{}", "file", "application/json"),
        ("movie.mp4", b"let x = 1", "file", "text/plain"),
        ("odd.xyzzy", b"\xff\x00", "file", "application/octet-stream"),
        ("picture.tiff", b"II*\x00\xff", "file", "image/tiff"),
    ],
)
def test_the_type_is_told_by_the_content_then_by_the_name(
    blobs: DirectoryBlobs, name: str | None, content: bytes, kind: str, media_type: str
) -> None:
    part = File(content, name=name).kept(blobs)
    assert (part.kind, part.media_type, part.size, part.name) == (kind, media_type, len(content), name)
    assert blobs.get(part.sha256) == content


def test_what_is_given_counts_more(blobs: DirectoryBlobs) -> None:
    part = File(PNG, media_type="Text/Plain; charset=utf-8").kept(blobs)
    assert (part.kind, part.media_type) == ("file", "text/plain")
    assert Image(b"II*\x00", media_type="image/tiff").kept(blobs).kind == "image"


@pytest.mark.parametrize("media_type", ["png", "a/b/c", 'image/png"', "image/png,x"])
def test_a_media_type_that_is_none_is_refused(blobs: DirectoryBlobs, media_type: str) -> None:
    with pytest.raises(FileRefused, match="is no media type"):
        File(PNG, media_type=media_type).kept(blobs)


async def test_paths_of_all_kinds_are_taken(tmp_path: Path, blobs: DirectoryBlobs) -> None:
    (tmp_path / "ü.png").write_bytes(PNG)
    given = [str(tmp_path / "ü.png"), tmp_path / "ü.png", Image(tmp_path / "ü.png"), Image(PNG, name="ü.png")]
    parts = await kept_files(given, blobs)
    assert len(set(parts)) == 1
    assert parts[0].name == "ü.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: File(at / "none.png"), "there is no file .*none.png"),
        (lambda at: File(at), "is a directory: name the files in it"),
        (lambda at: File(at / "pipe"), "is no regular file"),
        (lambda at: File(at / "huge"), f"has {MAX_FILE_BYTES + 1:,} bytes; a file may have {MAX_FILE_BYTES:,}"),
        (lambda at: File(b"x" * (MAX_FILE_BYTES + 1)), f"a file may have {MAX_FILE_BYTES:,}"),
        (lambda at: File(b""), "is empty"),
        (lambda at: File("null\x00character"), "cannot be read"),
        (lambda at: Image(at / "text.txt"), "is no image but text/plain"),
        (lambda at: File(at / "socket"), "is no regular file"),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_nothing_is_kept(
    tmp_path: Path, blobs: DirectoryBlobs, make: object, message: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.txt").write_text("hello")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(MAX_FILE_BYTES + 1)
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has little room
        listening.bind("socket")
        os.chdir(before)
        assert callable(make)
        with pytest.raises(FileRefused, match=message):
            await kept_files([make(tmp_path)], blobs)
    assert not blobs.directory.exists()


@pytest.mark.parametrize("files", ["a.png", Path("a.png"), b"bytes", Image(PNG)])
async def test_one_file_is_not_several(blobs: DirectoryBlobs, files: object) -> None:
    with pytest.raises(UsageError, match=r'several files are expected: files=\["a.png"\]'):
        await kept_files(files, blobs)  # type: ignore[arg-type]


async def test_what_is_no_file_is_refused(blobs: DirectoryBlobs) -> None:
    with pytest.raises(UsageError, match="a path or as bytes, not as int"):
        await kept_files([3], blobs)  # type: ignore[list-item]


def test_texts_of_all_types_are_known() -> None:
    textual = ["text/plain", "text/x-python", "application/json", "application/ld+json", "image/svg+xml"]
    assert all(map(is_textual, textual))
    assert not any(map(is_textual, ["image/png", "application/pdf", "application/zip", "application/jsonp2"]))
