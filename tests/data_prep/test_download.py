"""Downloads from a local server: resuming, checksums, unpacking, and failures."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import _download, musan
from data_prep._download import Archive, fetch
from spkver import download
from spkver.datadir import read_datadir
from spkver.errors import InputError, RunError

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]


class Server(http.server.ThreadingHTTPServer):
    """A server of files with ranges. It records requests, and can be set to fail in several ways."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut: list[int] = []  # numbers of bytes after which the next connections end
        self.refuse: list[int] = []  # status codes of the next answers
        self.ranges = True
        self.tags = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if server.refuse:
            return self.send_error(server.refuse.pop(0))
        if self.path not in server.files:
            return self.send_error(404)
        content = server.files[self.path]
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = 0
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if server.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        end = start + server.cut.pop(0) if server.cut else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CONTENT = {"corpus/a.wav": bytes(range(256)) * 200, "corpus/deep/b.txt": b"hello"}


NOISE = np.random.default_rng(0).bytes(50_000)  # incompressible
CUT = [make({"corpus/a.wav": NOISE, "corpus/b.wav": NOISE})[:40_000] for make in (tar, zipped)]


def archive(server: Server, content: bytes, name: str = "corpus.tar.gz", **published: object) -> Archive:
    server.files[f"/{name}"] = content
    return Archive((f"{server.url}/{name}",), **published)  # type: ignore[arg-type]


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def unpacked(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "corpus").rglob("*.*")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("corpus.tar.gz", tar(CONTENT)),
        ("corpus.tar", tar(CONTENT, "w:")),
        ("corpus.tar.xz", tar(CONTENT, "w:xz")),
        ("corpus.zip", zipped(CONTENT)),
    ],
)
def test_download_and_unpack(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture, name: str, content: bytes
) -> None:
    wanted = archive(server, content, name, size=len(content), digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    fetch(wanted, tmp_path)
    assert unpacked(tmp_path) == CONTENT
    assert capsys.readouterr().out == (
        f"{name}: 2 files, {len(content)} bytes, checksum correct; the archive can be deleted\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {name, "corpus", ".downloaded"}
    (tmp_path / name).unlink()
    fetch(wanted, tmp_path)
    assert capsys.readouterr().out == f"{name}: already downloaded\n"
    assert len(server.asked) == 1


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connection_is_resumed(tmp_path: Path, server: Server, ranges: bool, tags: bool) -> None:
    content = tar({"corpus/a.wav": hashlib.sha256().digest() * 9000}, "w:")
    server.ranges, server.tags = ranges, tags
    server.cut = [100_000, 50_000]
    fetch(archive(server, content, "corpus.tar", digest=md5(content)), tmp_path)
    assert [asked for _, asked in server.asked] == (
        [None, "bytes=100000-", "bytes=150000-"] if ranges else [None, "bytes=100000-", "bytes=50000-"]
    )
    assert list(unpacked(tmp_path)) == ["corpus/a.wav"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3000), max_size=5), have=st.integers(0, 9000), ranges=st.booleans())
def test_download_is_exact_wherever_the_connection_breaks(
    tmp_path_factory: pytest.TempPathFactory, server: Server, cuts: list[int], have: int, ranges: bool
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    server.files["/piece"] = NOISE[:8000]
    server.cut, server.ranges = list(cuts), ranges
    (folder / "piece.part").write_bytes(NOISE[:have])  # from an earlier run, or from another file if longer
    assert download.fetch_file(f"{server.url}/piece", folder / "piece", "") == 8000
    assert (folder / "piece").read_bytes() == NOISE[:8000]
    assert [path.name for path in folder.iterdir()] == ["piece"]


def test_interrupted_download_is_resumed_by_a_later_run(tmp_path: Path, server: Server) -> None:
    content = tar(CONTENT, "w:")
    wanted = archive(server, content, "corpus.tar", digest=md5(content))
    server.cut = [1000] * download._TRIES
    with pytest.raises(
        RunError, match=r"corpus\.tar: the connection ended early, in each of 6 attempts; run the command again"
    ):
        fetch(wanted, tmp_path)
    assert (tmp_path / "corpus.tar.part").stat().st_size == 1000 * download._TRIES
    server.cut, server.asked = [], []
    fetch(wanted, tmp_path)
    assert [asked for _, asked in server.asked] == [f"bytes={1000 * download._TRIES}-"]
    assert unpacked(tmp_path) == CONTENT


def test_complete_file_is_not_downloaded_again(tmp_path: Path, server: Server) -> None:
    content = tar(CONTENT, "w:")
    (tmp_path / "corpus.tar.part").write_bytes(content)  # killed before it was renamed
    fetch(archive(server, content, "corpus.tar"), tmp_path)
    assert unpacked(tmp_path) == CONTENT
    (tmp_path / ".downloaded" / "corpus.tar").unlink()  # killed while unpacking
    (tmp_path / "corpus" / "a.wav").write_bytes(b"half")
    asked = len(server.asked)
    fetch(archive(server, content, "corpus.tar"), tmp_path)
    assert (unpacked(tmp_path), len(server.asked)) == (CONTENT, asked)


def test_file_changed_on_the_server_is_downloaded_again(tmp_path: Path, server: Server) -> None:
    old, new = (tar({"corpus/a.wav": letter * 20000}, "w:") for letter in (b"o", b"n"))
    server.cut = [5000]
    wanted = archive(server, old, "corpus.tar")
    part = tmp_path / "corpus.tar.part"
    assert not download._receive(wanted.urls[0], part)
    fetch(archive(server, new, "corpus.tar"), tmp_path)
    assert unpacked(tmp_path) == {"corpus/a.wav": b"n" * 20000}


def test_too_long_partial_file_is_downloaded_again(tmp_path: Path, server: Server) -> None:
    content = tar(CONTENT, "w:")
    (tmp_path / "corpus.tar.part").write_bytes(content + b"more")
    fetch(archive(server, content, "corpus.tar"), tmp_path)
    assert unpacked(tmp_path) == CONTENT


def test_file_with_wrong_checksum_is_removed(tmp_path: Path, server: Server) -> None:
    content = tar(CONTENT)
    for published, message in (
        ({"size": 5}, f"has {len(content)} bytes, expected 5; the file was removed, run again"),
        ({"digest": md5(b"")}, f"md5 is {md5(content)[4:]}, expected {md5(b'')[4:]}; the file was removed"),
    ):
        with pytest.raises(RunError, match=message):
            fetch(archive(server, content, **published), tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_parts_of_an_archive_are_joined(tmp_path: Path, server: Server) -> None:
    content = tar(CONTENT)
    names = [f"corpus_v2.tar.gza{letter}" for letter in "abc"]
    third = len(content) // 3
    for number, name in enumerate(names):
        server.files[f"/{name}"] = content[number * third : (number + 1) * third if number < 2 else None]
    whole = Archive(tuple(f"{server.url}/{name}" for name in names), len(content), md5(content))
    assert whole.name == "corpus_v2.tar.gz"
    fetch(whole, tmp_path)
    assert unpacked(tmp_path) == CONTENT


def test_busy_server_is_retried(tmp_path: Path, server: Server) -> None:
    server.refuse = [503, 429]
    fetch(archive(server, tar(CONTENT)), tmp_path)
    assert len(server.asked) == 3
    server.refuse = [503] * 9
    with pytest.raises(RunError, match=r"HTTP 503 .*6 attempts; run the command again"):
        fetch(archive(server, tar(CONTENT), "other.tar.gz"), tmp_path)


def test_missing_file_on_the_server_is_an_error(tmp_path: Path, server: Server) -> None:
    with pytest.raises(RunError, match=r"/x\.tar\.gz: HTTP 404 Not Found; try another --mirror"):
        fetch(Archive((f"{server.url}/x.tar.gz",)), tmp_path)
    assert len(server.asked) == 1
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(RunError, match="refused, in each of 6 attempts"):
            fetch(Archive((f"http://127.0.0.1:{closed.getsockname()[1]}/x.tar.gz",)), tmp_path)


def test_too_small_disk_is_reported_before_the_download(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("usage", (), {"free": 10}))
    with pytest.raises(RunError, match=r"bytes, but .* has 10 free; nothing was downloaded"):
        fetch(archive(server, tar(CONTENT)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../out.wav", "/tmp/out.wav", "corpus/../../out.wav"])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_archive_member_outside_the_folder_is_rejected(
    tmp_path: Path, server: Server, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    suffix = "zip" if pack is zipped else "tar.gz"
    with pytest.raises(InputError, match=f"corpus.{suffix}: the member '{name}' points outside"):
        fetch(archive(server, pack({"corpus/a.wav": b"a", name: b"x"}), f"corpus.{suffix}"), tmp_path / "in")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("content", [b"no archive", b"", *CUT])
@pytest.mark.parametrize("name", ["corpus.tar.gz", "corpus.zip"])
def test_file_that_is_no_archive_is_rejected(tmp_path: Path, server: Server, content: bytes, name: str) -> None:
    with pytest.raises(RunError, match=f"{name}: damaged or truncated"):
        fetch(archive(server, content, name), tmp_path)
    assert not (tmp_path / ".downloaded").exists()


def test_second_mirror_is_used_when_the_first_fails(tmp_path: Path, server: Server) -> None:
    server.files["/resources/31/dev-clean-2.tar.gz"] = tar(CONTENT)
    wanted = _download.openslr(31, "dev-clean-2.tar.gz")
    fetch(wanted, tmp_path, server.url)
    assert unpacked(tmp_path) == CONTENT
    for mirror in ("openslr.elda.org", "file:///etc"):
        with pytest.raises(InputError, match=f"--mirror {mirror}: expected a scheme and a host"):
            fetch(wanted, tmp_path / "other", mirror)


def test_corpus_is_downloaded_and_prepared(
    tmp_path: Path, server: Server, record: Record, prep: Prep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = (record(tmp_path, "a.wav") / "a.wav").read_bytes()
    content = tar({f"musan/{kind}/source/{kind}-source-0000.wav": sound for kind in musan.KINDS})
    server.files["/resources/17/musan.tar.gz"] = content
    published = _download.openslr(17, "musan.tar.gz", size=len(content), digest=md5(content))
    monkeypatch.setitem(musan.SOURCE.archives, "musan", published)  # type: ignore[arg-type]
    prep("musan", tmp_path / "root", tmp_path / "data", "--download", "--mirror", server.url)
    assert [len(read_datadir(tmp_path / "data" / kind)) for kind in musan.KINDS] == [1, 1, 1]


def test_download_option_downloads_before_preparing(tmp_path: Path, server: Server, prep: Prep) -> None:
    _, err = prep("librispeech", tmp_path / "root", tmp_path / "data", "--download", "--mirror", server.url, code=1)
    assert "/resources/31/dev-clean-2.tar.gz: HTTP 404" in err


def test_download_options_without_download_are_rejected(tmp_path: Path, prep: Prep) -> None:
    for option in (("--part", "dev-clean"), ("--mirror", "https://openslr.elda.org")):
        _, err = prep("librispeech", tmp_path, tmp_path / "data", *option, code=2)
        assert "--part and --mirror need --download" in err


def test_sources_are_complete() -> None:
    """Every archive has a valid name, a valid digest, and a unique address."""
    import importlib
    import pkgutil

    import data_prep

    urls: list[str] = []
    for module in pkgutil.iter_modules(data_prep.__path__):
        if module.name.startswith("_") or module.ispkg:
            continue
        source = getattr(importlib.import_module(f"data_prep.{module.name}"), "SOURCE", None)
        if source is None:
            continue
        assert source.home.startswith("https://") and source.licence
        assert bool(source.archives) != bool(source.refusal)
        assert set(source.default) <= set(source.archives)
        for wanted in source.archives.values():
            urls += wanted.urls
            assert all(url.startswith("https://") for url in wanted.urls)
            assert wanted.name.endswith((".tar.gz", ".zip"))
            if wanted.digest:
                kind, _, value = wanted.digest.partition(":")
                assert len(bytes.fromhex(value)) == hashlib.new(kind).digest_size
    assert len(set(urls)) == len(urls)
