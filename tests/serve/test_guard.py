"""Who may ask, and how much."""

from __future__ import annotations

import asyncio
import os
import stat
import threading

import pytest
from starlette.websockets import WebSocketDisconnect

from spkver.config import validate
from spkver.errors import InputError
from spkver.serve.config import Limits, ServeConfig
from spkver.serve.problems import Refused
from spkver.serve.tokens import new_token, read_tokens
from spkver.serve.work import Places
from spkver.verify import book as books


@pytest.fixture
def tenants(tmp_path):
    """A file of tokens, and the tokens of two tenants."""
    path = tmp_path / "tokens"
    return path, new_token(path, "shop"), new_token(path, "bank")


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_tokens_are_stored_as_hashes_in_a_private_file(tenants):
    path, shop, bank = tenants
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert shop not in path.read_text() and bank not in path.read_text()
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_tokens(path)


@pytest.mark.parametrize("line", ["shop", "shop x", "../x " + "0" * 64, "shop " + "0" * 63, "shop  " + "0" * 65])
def test_a_damaged_file_of_tokens_names_the_line(tmp_path, line):
    path = tmp_path / "tokens"
    path.write_text(f"# comment\nshop {'0' * 64}\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(InputError, match=r"tokens:3: expected"):
        read_tokens(path)


def test_tenants_are_apart(serving, tenants, recording, tmp_path):
    path, shop, bank = tenants
    client = serving(tokens=read_tokens(path))
    sent = {"data": {"name": "Ada"}, "files": {"audio": recording(100)}}
    assert client.post("/v1/enrol", **sent, headers=bearer(shop)).status_code == 200
    assert len(client.get("/v1/speakers", headers=bearer(shop)).json()["speakers"]) == 1
    assert client.get("/v1/speakers", headers=bearer(bank)).json() == {"speakers": []}
    assert client.post("/v1/forget", json={"name": "Ada"}, headers=bearer(bank)).status_code == 404
    (own,) = (tmp_path / "book").iterdir()
    assert "shop" not in own.name and stat.S_IMODE(own.stat().st_mode) == 0o700


def test_no_route_answers_without_a_token(serving, tenants):
    client = serving(tokens=read_tokens(tenants[0]))
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 10
    for path, methods in paths.items():
        for method in methods:
            for headers in ({}, bearer("x"), bearer(""), {"authorization": f"Basic {tenants[1]}"}):
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == (200 if path == "/health" else 401), path
                if path != "/health":
                    assert answer.headers["www-authenticate"] == "Bearer" and list(answer.json()) == ["error"]


@pytest.mark.parametrize("host", ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8000", "", "[::2]", "[", "0"])
def test_other_hosts_are_refused_on_loopback(client, host):
    answer = client.get("/v1/speakers", headers={"host": host})
    assert answer.status_code == 403 and "Host header" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"])
def test_names_of_this_machine_are_served(client, host):
    assert client.get("/v1/speakers", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://localhost:9000", "https://localhost.evil.com:8000"]
)
def test_pages_of_other_sites_are_refused(client, origin):
    for path in ("/v1/speakers", "/v1/voice/forget"):
        assert client.get(path, headers={"origin": origin}).status_code == 403
    assert client.post("/v1/forget", json={"name": "Ada"}, headers={"origin": origin}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://localhost:8000/v1/stream", headers={"origin": origin}),
    ):
        pass
    answer = client.get("/v1/speakers", headers={"origin": "http://localhost:8000"})
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


def test_a_large_request(serving, recording):
    client = serving(limits={"body_mb": 0.01})
    answer = client.post("/v1/embed", files={"audio": recording(100)})
    assert answer.status_code == 413 and "0.01 MB" in answer.json()["error"]

    def parts():
        for _ in range(4):
            yield b"x" * 5000

    assert client.post("/v1/embed", content=parts(), headers={"content-type": "audio/wav"}).status_code == 413
    assert client.post("/v1/forget", content=b"x" * 20000).status_code == 413


def test_a_long_recording_is_refused_before_it_is_decoded(serving, recording, monkeypatch):
    from spkver import audio

    client = serving(limits={"seconds": 3})
    bomb = recording(100, ".flac", seconds=3.1)
    monkeypatch.setattr(audio, "_samples", None)
    for path, name in (("embed", "audio"), ("identify", "audio"), ("enrol", "audio")):
        answer = client.post(f"/v1/{path}", files={name: bomb}, data={"name": "Ada"})
        assert answer.status_code == 422 and "too long (3.1 s, maximum 3 s)" in answer.json()["error"]
    client = serving(limits={"diarize_seconds": 3})
    assert "too long" in client.post("/v1/diarize", files={"audio": bomb}).json()["error"]


def test_limits_of_a_book(serving, recording):
    client = serving(limits={"people": 1, "recordings": 2})

    def enrol(name, number):
        files = [("audio", ("x", recording(100, seed=seed))) for seed in range(number)]
        return client.post("/v1/enrol", data={"name": name}, files=files)

    assert enrol("Ada", 2).status_code == 200
    assert enrol("Ada", 1).status_code == 507
    full = enrol("Bob", 1)
    assert full.status_code == 507 and "the book is full (1 people)" in full.json()["error"]
    assert enrol("Bob", 4).status_code == 400  # more files than a person may have


def test_too_many_requests(serving, tenants):
    client = serving(tokens=read_tokens(tenants[0]), limits={"requests_per_minute": 3})
    answers = [client.get("/v1/speakers", headers=bearer(tenants[1])) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) in range(15, 21)
    assert client.get("/v1/speakers", headers=bearer(tenants[2])).status_code == 200  # another tenant
    assert client.get("/health").status_code == 200


def test_a_busy_server():
    """One request is worked on, one waits, the third is refused; then there is room again."""

    async def check():
        places, go_on = Places(Limits(running=1, waiting=1)), threading.Event()
        tasks = [asyncio.create_task(places.run(go_on.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="busy") as refused:
            await places.run(go_on.wait, 10)
        assert (refused.value.status, refused.value.headers()["retry-after"]) == (503, "1")
        tasks[0].cancel()  # a client that goes away does not free the thread
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="busy"):
            await places.run(go_on.wait, 10)
        go_on.set()
        assert await tasks[1] and await places.run(go_on.wait, 10)

    asyncio.run(check())


def test_one_long_recording_at_a_time():
    async def check():
        places, go_on = Places(Limits()), threading.Event()
        task = asyncio.create_task(places.run_alone(go_on.wait, 10))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="another recording"):
            await places.run_alone(go_on.wait, 10)
        go_on.set()
        assert await task and await places.run_alone(go_on.wait, 10)

    asyncio.run(check())


def test_names_and_ids_are_never_paths(client, recording, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("../../x", "/etc/passwd", "..", "a/b", "a\\b", "%2e%2e%2f", "C:x", "-rf", "𝕏" * 100):
        answer = client.post("/v1/enrol", data={"name": name}, files={"audio": recording(100)})
        assert answer.status_code == 200, answer.text
        assert client.post("/v1/voice/forget", json={"id": answer.json()["id"]}).status_code == 204
    assert [path.name for path in (tmp_path / "book").iterdir()] == [books.VOICES]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "book"])
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page/..%2f..%2f..%2fpyproject.toml",
        "//etc/passwd",
    ):
        assert client.get(path).status_code == 404


def test_config_names_the_nearest_key():
    with pytest.raises(InputError, match=r"unknown key 'body'; did you mean 'body_mb'\?"):
        validate(ServeConfig, {"limits": {"body": 3}})
