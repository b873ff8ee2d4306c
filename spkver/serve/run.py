"""Start and stop the service: one listening socket, and processes that answer on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spkver import modeldir, processes
from spkver.errors import InputError, SpkverError, load_optional
from spkver.files import require_private
from spkver.serve.config import LOOPBACK, ServeConfig
from spkver.serve.tokens import Tokens, read_tokens

if TYPE_CHECKING:
    from spkver.serve.work import Rates

_PACKAGES = ("fastapi", "uvicorn", "multipart", "websockets", "prometheus_client")
_POLL = 0.2  # seconds between two looks at the processes
_HEADER_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """What `spkver serve` was started with. model: a directory or file; book: a directory; tokens: their file."""

    model: Path
    book: Path
    host: str
    port: int
    tokens: Path | None
    jobs: int
    config: ServeConfig


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. say: receives the address, and what goes wrong.

    Raises InputError for settings that cannot be used.
    """
    for name in _PACKAGES:
        load_optional(name, "serve")
    from spkver.serve.work import Rates

    tokens = None if settings.tokens is None else read_tokens(settings.tokens)
    if tokens is None and settings.host not in LOOPBACK:
        raise InputError(
            f"--host {settings.host}: other machines could use the service and its book; give --tokens FILE as well "
            "(spkver serve --tokens FILE --new-token TENANT makes a token)"
        )
    if settings.model.suffix != ".onnx":
        modeldir.check(settings.model)  # fail early
    _check_book(settings.book, tenants=tokens is not None)
    _check_tls(settings.config)
    rates = Rates([""] if tokens is None else tokens.names(), settings.config.limits.requests_per_minute)
    with (
        _environment(),
        _listening(settings.host, settings.port) as listener,
        _Processes(settings, listener, tokens, rates, say) as running,
    ):
        running.start()
        host, port = listener.getsockname()[:2]
        scheme = "http" if settings.config.tls_certificate is None else "https"
        say(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        running.watch()


def _check_book(root: Path, *, tenants: bool) -> None:
    """Raises InputError for a book that cannot be used; of the books of tenants, only their directory is looked at."""
    from spkver.verify.book import open_book

    if root.exists() and not root.is_dir():
        raise InputError(f"--book {root}: not a directory")
    if not tenants:
        open_book(root)
    elif root.exists():
        require_private(root)


def _check_tls(config: ServeConfig) -> None:
    """Raises InputError for a certificate and key that do not work."""
    if config.tls_certificate is None:
        if config.tls_key is not None:
            raise InputError("tls_key has no effect without tls_certificate; give both, or leave it out")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_certificate, config.tls_key)
    except OSError as error:
        said = error.strerror or str(error)
        raise InputError(f"tls_certificate, tls_key: cannot be used ({said}); give PEM files that fit") from error


class _Stop(Exception):  # noqa: N818 - no error
    """The service was asked to stop."""


class _Processes:
    """The processes of the service. At the end they answer the running requests and stop."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        tokens: Tokens | None,
        rates: Rates,
        say: Callable[[str], None],
    ) -> None:
        self._args = settings, listener, tokens, rates
        self._settings, self._listener, self._say = settings, listener, say
        self._running: list[tuple[BaseProcess, Any]] = []

    def __enter__(self) -> _Processes:
        def stop(number: int, frame: object) -> None:
            raise _Stop

        self._before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._listener.close()  # new requests are refused
        for process, _ in self._running:
            process.terminate()
        for process, _ in self._running:
            process.join(self._settings.config.limits.drain + 10)
            if process.is_alive():
                process.kill()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is _Stop

    def start(self) -> None:
        """Start all processes, the first one alone, so that an error is printed once."""
        self._running = [self._start()]
        self._wait()
        self._running += [self._start() for _ in range(self._settings.jobs - 1)]
        self._wait()

    def _wait(self) -> None:
        """Return when all processes answer. Exits with the code of one that ends before; it has printed the reason."""
        while not all(ready.is_set() for _, ready in self._running):
            for process, ready in self._running:
                if process.exitcode is not None and not ready.is_set():
                    sys.exit(process.exitcode if process.exitcode in (1, 2) else 1)
            multiprocessing.connection.wait([process.sentinel for process, _ in self._running], _POLL)

    def watch(self) -> None:
        """Replace a process that ends, for example because a decoder crashed."""
        while True:
            multiprocessing.connection.wait([process.sentinel for process, _ in self._running], _POLL)
            for place, (process, _) in enumerate(self._running):
                if process.exitcode is not None:
                    self._say(f"a process ended with code {process.exitcode}; another one starts in its place")
                    self._running[place] = self._start()
                    self._wait()

    def _start(self) -> tuple[BaseProcess, Any]:
        ready = multiprocessing.get_context("spawn").Event()
        return processes.start(_work, *self._args, ready), ready


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(512)
            yield listener
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be used ({error.strerror}); choose others") from error


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Environment variables of the processes: where they put their metrics, and how they allocate memory."""
    from spkver.serve.metrics import FOLDER

    with tempfile.TemporaryDirectory(prefix="spkver") as folder:
        # glibc otherwise keeps a heap for each of many threads, and recordings of all lengths fragment them: 80 MB more
        # of a process after 2,400 recordings, and rising
        changed = {FOLDER: folder, "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _work(settings: Settings, listener: socket.socket, tokens: Tokens | None, rates: Rates, ready: Any) -> None:
    """A process of the service."""
    try:
        _answer(settings, listener, tokens, rates, ready)
    except SpkverError as error:
        print(f"spkver: error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 - a child process
        sys.exit(error.exit_code)


def _answer(settings: Settings, listener: socket.socket, tokens: Tokens | None, rates: Rates, ready: Any) -> None:
    import torch
    import uvicorn
    from threadpoolctl import threadpool_limits

    from spkver.serve import metrics
    from spkver.serve.app import build
    from spkver.serve.batching import SharedVerifier
    from spkver.serve.guard import Access
    from spkver.serve.service import Service

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("spkver.serve").setLevel(logging.INFO)
    threads = max(1, processes.available_cpus() // settings.jobs)
    torch.set_num_threads(threads)
    config, limits = settings.config, settings.config.limits
    with threadpool_limits(threads):
        verifier = SharedVerifier.open(settings.model.absolute(), config.device).prepare(metrics.BATCH.observe)
        service = Service(verifier, settings.book, limits, tenants=tokens is not None)

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready.set()

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                await super().shutdown(sockets)
                if late := self.server_state.tasks:  # cancelled: they answer that the service stops
                    await asyncio.wait(late, timeout=1)
                # at the very end, so that threads that work longer than `drain` are not waited for
                multiprocessing.util.Finalize(None, os._exit, (0,), exitpriority=-1)

        app = build(service, Access(tokens, rates), config)
        Server(
            uvicorn.Config(
                app,
                http=_impatient(),
                ws_max_size=1 << 17,
                log_config=None,
                log_level="critical",  # the guard logs errors, in one line and without names
                access_log=False,
                server_header=False,
                limit_concurrency=limits.connections + 1,  # uvicorn refuses the one that reaches it
                timeout_keep_alive=5,
                timeout_graceful_shutdown=limits.drain,
                ssl_certfile=config.tls_certificate,
                ssl_keyfile=config.tls_key,
            )
        ).run([listener])


def _impatient() -> Any:
    """The HTTP protocol of uvicorn, which also closes connections on which no complete header arrives in time."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _watch(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(_HEADER_SECONDS, self._close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close(self) -> None:
            self._timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Impatient
