"""An S3 server and a web server on this machine that fail on request."""

from __future__ import annotations

import http.server
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

from spkver.storage import access, cache

KEY, SECRET = "AKIDTESTTESTTESTTEST", "secret-of-the-test/with+signs"


def clear() -> None:
    """Forget what was read."""
    access._known.clear()
    access._filesystem.cache_clear()
    cache._room._before_next_look = 0


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, no pauses, and no credentials of the user."""
    import fsspec

    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(access, "FIRST_PAUSE", 0.001)
    clear()
    yield
    clear()
    for name in ("s3", "http", "memory"):
        fsspec.get_filesystem_class(name).clear_instance_cache()
    fsspec.get_filesystem_class("memory").store.clear()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of an S3 server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Server:
    """A web server.

    faults: what to do with the next requests: a status, an error of S3 (status, code), "cut", "short", "slow", "few",
    "many", or None
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[int | str | tuple[int, str] | None] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    ranges: bool = True
    forward: str = ""  # address of another server
    holds_after: int | None = None  # shards; then it does not answer
    allowed: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda request: True

    @property
    def shards(self) -> int:
        """The number of whole shards that were asked for."""
        return sum("arrow" in path and str(ranged).startswith("bytes=0-") for _, path, ranged in list(self.asked))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_PUT(self) -> None:
        self._answer(body=True)

    do_POST = do_DELETE = do_PUT  # noqa: N815

    def _answer(self, body: bool) -> None:
        state = self.server_of
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state.asked.append((self.command, self.path, self.headers.get("Range")))
        while state.holds_after is not None and state.shards > state.holds_after:
            time.sleep(0.05)
        fault = state.faults.pop(0) if state.faults else None
        if isinstance(fault, tuple):
            status, code = fault
            self._send(status, f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode(), body)
        elif isinstance(fault, int):
            self._send(fault, b"<html>secret-of-the-server</html>", body)
        elif fault == "cut":
            self.close_connection = True
            self.connection.close()
        elif state.forward:
            self._forwarded(content, fault, body)
        elif not state.allowed(self):
            self._send(403, b"", body)
        elif (found := state.files.get(self.path.partition("?")[0])) is None:
            self._send(404, b"", body)
        else:
            self._file(found, fault, body)

    def _file(self, found: bytes, fault: str | None, body: bool) -> None:
        status, asked = 200, self.headers.get("Range")
        total = len(found)
        headers = {"ETag": f'"{hash(found)}"'}
        if asked and self.server_of.ranges and body:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or total - 1), total - 1)
            if start >= total:
                self._send(416, b"", body)
                return
            status, found = 206, found[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
        self._send(status, found, body, fault, headers)

    def _send(
        self, status: int, found: bytes, body: bool, fault: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        stated = len(found)
        if body and fault == "few":
            found, stated = found[:-1], len(found) - 1
        if body and fault == "many":
            found, stated = found + b"x", len(found) + 1
        if body and fault == "short":
            found = found[: len(found) // 2]
        if fault == "slow":
            time.sleep(1.0)
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(stated))
            self.end_headers()
            if body:
                self.wfile.write(found)
        except OSError:  # the client does not wait
            self.close_connection = True
        if fault == "short":
            self.close_connection = True
            self.connection.close()

    def _forwarded(self, content: bytes, fault: str | None, body: bool) -> None:
        import http.client

        state = self.server_of
        other = http.client.HTTPConnection(state.forward.partition("://")[2])
        try:
            other.request(self.command, self.path, content, dict(self.headers))
            answer = other.getresponse()
            found = answer.read()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server")
            }
            if not body:
                kept["Content-Length"] = answer.getheader("Content-Length") or "0"
                self.send_response(answer.status)
                for name, value in kept.items():
                    self.send_header(name, value)
                self.end_headers()
            else:
                self._send(answer.status, found, body, fault, kept)
        finally:
            other.close()


@pytest.fixture
def web() -> Iterator[Server]:
    """A web server."""
    state = Server()
    handler = type("Handler", (_Handler,), {"server_of": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def s3(moto: str, web: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 server with an empty bucket `bucket`, behind a web server that can fail."""
    import boto3

    web.forward = moto
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = boto3.resource("s3", endpoint_url=moto)
    bucket = made.Bucket("bucket")
    bucket.create()
    yield web
    bucket.objects.all().delete()
    bucket.delete()
