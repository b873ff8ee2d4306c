"""The service as a process: start, faults, stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from spkver.verify import book as books

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def ask(url, path, content=None, **headers):
    """The status and answer of a request."""
    kind = {"Content-Type": "audio/wav"} if content else {}
    request = urllib.request.Request(url + path, content, headers=kind | headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def form(**fields):
    """The body and headers of a form."""
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (
            name.encode(),
            b'; filename="f"' if isinstance(value, bytes) else b"",
            value if isinstance(value, bytes) else value.encode(),
        )
        for name, value in fields.items()
    )
    return parts + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def connected(url):
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=60)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "spkver", "serve", *map(str, arguments)], capture_output=True, text=True
    )


def test_faults_and_stop(server, recording, tmp_path, decided_model):
    """One start for all of it: slow and cut uploads harm nobody, SIGTERM answers what runs and refuses what is new."""
    config = tmp_path / "serve.yaml"
    config.write_text("limits: {patience: 2, running: 1}\n")
    running = server("--config", config)
    content = recording(100)
    assert ask(running.url, "/v1/embed", content)[0] == 200
    # another service on the same port
    taken = run("--model", decided_model, "--port", urlsplit(running.url).port)
    assert taken.returncode == 2 and "cannot be used" in taken.stderr and len(taken.stderr.splitlines()) == 1

    head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n" % len(
        content
    )
    slow, cut, silent = connected(running.url), connected(running.url), connected(running.url)
    slow.sendall(head + content[:100])
    cut.sendall(head + content[: len(content) // 2])
    cut.close()
    silent.sendall(b"POST /v1/em")  # an incomplete header
    assert ask(running.url, "/v1/embed", content)[0] == 200  # others are served
    answer = http.client.HTTPResponse(slow)
    answer.begin()
    assert answer.status == 408 and "longer than 2 s" in json.load(answer)["error"]
    assert silent.recv(1) == b""  # closed

    with pytest.raises(InvalidStatus) as refused, connect(f"ws{running.url[4:]}/v1/stream", origin="http://evil.com"):
        pass
    assert refused.value.response.status_code == 403 and b"other sites" in refused.value.response.body

    # requests that run when the signal comes
    answers, long = [], recording(100, seconds=30.0)

    def late():
        with contextlib.suppress(OSError):  # it came after the signal
            answers.append(ask(running.url, "/v1/embed", long)[0])

    threads = [threading.Thread(target=late) for _ in range(5)]
    for thread in threads:
        thread.start()
    while b" 0.0" in next(line for line in metrics(running.url) if line.startswith(b"spkver_running")):
        pass
    assert running.stop() == 0
    for thread in threads:
        thread.join()
    assert answers and set(answers) == {200}
    with pytest.raises(OSError):
        connected(running.url)
    assert "408" in running.said[0] and "499" in running.said[0]
    assert not re.search("Traceback|handshake", running.said[0])


def test_a_stop_does_not_wait_for_long_work(server, recording, tmp_path):
    """A request in a thread and one that has not arrived are answered after `drain`, and the process leaves."""
    config = tmp_path / "serve.yaml"
    config.write_text("limits: {drain: 1, connections: 3}\n")
    running, answers = server("--config", config), []
    body, headers = form(name="Ada", audio=recording(100))
    with books.edited(tmp_path / "book", None, make=True):  # the enrolment waits for this writer
        thread = threading.Thread(target=lambda: answers.append(ask(running.url, "/v1/enrol", body, **headers)))
        thread.start()
        slow = connected(running.url)
        slow.sendall(b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        while b" 0.0" in next(line for line in metrics(running.url) if line.startswith(b"spkver_running")):
            pass
        began = time.monotonic()
        assert running.stop() == 0 and time.monotonic() - began < 9  # after 10 s it would be killed
        thread.join()
    late = http.client.HTTPResponse(slow)
    late.begin()
    assert (late.status, json.load(late)) == (503, {"error": "the service stops"}) and late.headers["retry-after"]
    assert answers == [(503, {"error": "the service stops"})]
    assert "POST /v1/enrol 503" in running.said[0]
    assert not re.search("Traceback|Cancel|leaked", running.said[0])  # one line for each request


def metrics(url):
    with urllib.request.urlopen(url + "/metrics", timeout=60) as answer:
        return answer.read().splitlines()


def test_a_kill_while_people_are_enrolled_loses_nobody(server, recording, tmp_path):
    running = server()
    known, kill_at = [], 4

    def enrol(number):
        body, headers = form(name=f"person {number}", audio=recording(100 + 10 * number, seconds=2.0))
        try:
            if ask(running.url, "/v1/enrol", body, **headers)[0] == 200:
                known.append(f"person {number}")
        except OSError:
            pass

    for number in range(kill_at):
        enrol(number)
    threads = [threading.Thread(target=enrol, args=(number,)) for number in range(kill_at, 12)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    running.process.kill()
    for thread in threads:
        thread.join()
    assert len(known) >= kill_at and set(known) <= set(books.open_book(tmp_path / "book").recordings())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # the processes end with the first one
        try:
            connected(running.url).close()
        except OSError:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a process of the service is left")
    again = server()
    assert {one["name"] for one in ask(again.url, "/v1/speakers")[1]["speakers"]} >= set(known)
    with connect(f"ws{again.url.removeprefix('http')}/v1/stream") as stream:
        stream.send(json.dumps({"person": "person 0"}))
        assert json.loads(stream.recv())["reject"] < 0
        stream.send(recording(100, seconds=2.0)[44:])
        stream.send("end")
        assert (json.loads(stream.recv()))["name"] == "person 0"
    assert again.stop(signal.SIGINT) == 0


def test_a_crashed_process_is_replaced(server, recording):
    running = server()
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(running.process.pid)], capture_output=True, text=True
    )
    (worker,) = [line.split()[0] for line in found.stdout.splitlines() if "spawn_main" in line]
    if sys.platform == "linux":  # memory stays flat only with few heaps of glibc
        assert b"MALLOC_ARENA_MAX=2\0" in Path(f"/proc/{worker}/environ").read_bytes()
    os.kill(int(worker), signal.SIGKILL)
    assert "ended with code -9" in running.process.stdout.readline()
    assert ask(running.url, "/v1/embed", recording(100))[0] == 200
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "give --tokens FILE"),
        (["--new-token", "shop"], "--new-token needs --tokens"),
        (["--tokens", "missing"], "no such file"),
        (["--model", "missing"], "missing"),
        (["--config", "tls.yaml"], "tls_certificate, tls_key: cannot be used"),
        (["--config", "text.yaml"], "tls_certificate, tls_key: cannot be used"),
        (["--config", "key.yaml"], "tls_key has no effect"),
        (["--book", "open"], "run chmod 700"),
        (["--book", "open", "--tokens", "tokens"], "run chmod 700"),
        (["--book", "bad.yaml"], "not a directory"),
        (["--book", "damaged"], "not the file of a speaker book"),
        (["--config", "bad.yaml"], "bad.yaml:1: unknown key 'limit'; did you mean 'limits'?"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("limit: 3\n")
    (tmp_path / "tls.yaml").write_text("tls_certificate: missing.pem\n")
    (tmp_path / "text.yaml").write_text("tls_certificate: text.yaml\n")
    (tmp_path / "key.yaml").write_text("tls_key: missing.pem\n")
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "damaged").mkdir(mode=0o700)
    for name in ("tokens", "damaged/voices.parquet"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(f"shop {'0' * 64}\n")
    done = run("--port", 0, "--jobs", 1, *arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_new_token(tmp_path):
    from spkver.serve.tokens import read_tokens

    done = run("--tokens", tmp_path / "tokens", "--new-token", "shop")
    assert read_tokens(tmp_path / "tokens").tenant(done.stdout.strip()) == "shop"
