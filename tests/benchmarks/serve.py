"""`python tests/benchmarks/serve.py [--clients 50] [--seconds 60] [--model MODEL]`: load on `spkver serve`.

Clients of this machine ask for embeddings of recordings of 2 to 8 s, each one after the other without a pause. Measured
with one client and with many, on the service and on a naive server of the same number of processes: one thread and one
forward pass for each request, and as many threads of PyTorch as it takes by default. Prints latency, throughput, CPU
time and memory of all processes of the server, and requests without an answer. On a machine that is busy with other
work, only the CPU time of a request compares: many threads get more of the cores than few.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import soundfile

SECONDS = (2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 8.0)


def recordings() -> list[bytes]:
    """Voice-like recordings as WAV files."""
    made = []
    for row, seconds in enumerate(SECONDS):
        random, time_axis = np.random.default_rng(row), np.arange(round(16000 * seconds)) / 16000
        wave = sum(np.sin(2 * np.pi * (90 + 20 * row) * k * time_axis) / k for k in range(1, 40))
        wave = wave * (time_axis % 1 < 0.7) + 0.01 * random.normal(size=len(time_axis))
        file = io.BytesIO()
        soundfile.write(file, 0.2 * wave / np.abs(wave).max(), 16000, format="WAV", subtype="PCM_16")
        made.append(file.getvalue())
    return made


@dataclass
class Measured:
    """Seconds of each answered request, and the statuses of all; 0: no answer."""

    took: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def load(port: int, clients: int, seconds: float, contents: list[bytes]) -> Measured:
    """Ask from so many threads for so long."""
    found, lock, end = Measured(), threading.Lock(), time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        row = number
        while (start := time.monotonic()) < end:
            try:
                connection.request("POST", "/v1/embed", contents[row % len(contents)], {"Content-Type": "audio/wav"})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            with lock:
                found.statuses[status] += 1
                if status == 200:
                    found.took.append(time.monotonic() - start)
            row += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def used(pid: int) -> tuple[float, float]:
    """Memory in MB, and CPU seconds so far, of a process and its children; shared pages are divided."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    kilobytes, ticks = 0, 0
    for one in [pid, *map(int, children)]:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            times = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(times[11]) + int(times[12])
    return kilobytes / 1024, ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[tuple[int, int]]:
    """A server: its process and port."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield process.pid, int(line.rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            print(f"    the server ended with code {process.wait()}")


def naive(model: str, jobs: int) -> None:
    """The server that one writes in ten minutes."""
    import spkver
    from spkver.audio import Content

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        for _ in range(jobs - 1):
            if os.fork() == 0:
                break
        else:
            print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        encoder = spkver.load_model(model or None)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                heard = encoder.listen(Content("audio", self.rfile.read(int(self.headers["Content-Length"]))))
                answer = json.dumps({"embedding": heard.vector.tolist(), "doubts": heard.doubts}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket = listener
        server.serve_forever()


def main() -> None:
    """See the head of the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", default="")
    parser.add_argument("--naive", action="store_true", help="be the naive server")
    given = parser.parse_args()
    if given.naive:
        os.setpgrp()
        signal.signal(signal.SIGTERM, lambda number, frame: os.killpg(0, signal.SIGKILL))
        naive(given.model, given.jobs)
        return
    contents, jobs = recordings(), str(given.jobs)
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", given.model] if given.model else []
        serve = [sys.executable, "-m", "spkver", "serve", "--port", "0", "--jobs", jobs, "--book", f"{folder}/book"]
        config = Path(folder, "serve.yaml")
        config.write_text("limits: {requests_per_minute: 1000000}\n")
        servers: dict[str, list[str]] = {
            "spkver serve": [*serve, *model, "--config", str(config)],
            "naive": [sys.executable, __file__, "--naive", "--jobs", jobs, *model],
        }
        print(
            f"{os.cpu_count()} cores, {given.jobs} processes, {given.seconds:g} s with many clients of the service, "
            f"60 s at most otherwise; load {os.getloadavg()[0]:.1f}"
        )
        print("| server | clients | requests/s | p50 ms | p95 ms | p99 ms | CPU ms | MB, start and end | lost |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, command in servers.items():
            with started(command) as (pid, port):
                load(port, 4, 5, contents)  # warm up
                for clients in (1, given.clients):
                    long = name == "spkver serve" and clients == given.clients
                    seconds = given.seconds if long else min(given.seconds, 60)
                    before = used(pid)
                    report(name, clients, seconds, load(port, clients, seconds, contents), before, used(pid))


def report(
    name: str, clients: int, seconds: float, found: Measured, before: tuple[float, float], after: tuple[float, float]
) -> None:
    """Print a row."""
    at: Callable[[float], str] = lambda share: f"{1000 * np.quantile(found.took, share):.0f}" if found.took else "-"  # noqa: E731
    lost = {status: number for status, number in found.statuses.items() if status != 200}
    cpu = 1000 * (after[1] - before[1]) / max(1, len(found.took))
    print(
        f"| {name} | {clients} | {len(found.took) / seconds:.1f} | {at(0.5)} | {at(0.95)} | {at(0.99)} | {cpu:.0f} | "
        f"{before[0]:.0f}, {after[0]:.0f} | {lost or 0} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
