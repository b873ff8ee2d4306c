"""Decisions while one speaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from spkver.serve.stream import Bounds
from spkver.serve.tokens import new_token, read_tokens

from .conftest import RATE, pcm


@pytest.fixture
def known(client, recording):
    """A client whose book has two people."""
    for name, pitch in (("Ada", 100), ("Bob", 300)):
        files = [("audio", ("x", recording(pitch, seed=seed))) for seed in range(2)]
        assert client.post("/v1/enrol", data={"name": name}, files=files).status_code == 200
    return client


def talk(client, start, waveform, piece=0.25, end=True):
    """All answers to a waveform that is sent in pieces of so many seconds."""
    answers, samples = [], round(piece * start.get("rate", RATE))
    with client.websocket_connect(STREAM) as socket:
        socket.send_json(start)
        try:
            answers.append(socket.receive_json())
            for first in range(0, len(waveform), samples):
                socket.send_bytes(pcm(waveform[first : first + samples]))
            if end:
                socket.send_text("end")
            while True:
                answers.append(socket.receive_json())
        except WebSocketDisconnect as closed:
            answers.append(closed.code)
    return answers


STREAM = "ws://localhost:8000/v1/stream"
SURE = {"false_accept": 1e-3, "false_reject": 1e-3}


def test_the_last_answer_is_that_of_verify(known, voice, recording):
    bounds, *evidence, last, code = talk(known, {"person": "Ada", **SURE}, voice(100, seed=9))
    sent = {"test": ("x", recording(100, seed=9))}
    expected = known.post("/v1/verify", data={"person": "Ada"}, files=sent).json()
    assert code == 1000 and bounds["accept"] == pytest.approx(math.log(999))
    assert last["heard"] == 4.0 and last["score"] == pytest.approx(expected["score"], abs=1e-4)
    assert last["speech"] == pytest.approx(expected["seconds"], abs=0.02)
    assert (last["decision"], last["same"]) == ("undecided", expected["same"])
    heard = [one["heard"] for one in evidence]
    assert heard == sorted(heard) and heard[0] <= 1 and all(one["decision"] is None for one in evidence)


def test_a_decision_ends_the_stream_early(known, voice):
    easy = {"person": "Ada", "false_accept": 0.4, "false_reject": 0.4}
    *_, last, code = talk(known, easy, voice(100, seconds=20.0, seed=9), end=False)
    assert code == 1000 and last["decision"] == "accept" and last["heard"] < 20


def test_anybody_of_the_book(known, voice):
    bounds, *_, last, code = talk(known, {"false_accept": 0.01}, voice(300, seed=9))
    assert bounds["accept"] == pytest.approx(math.log(0.95 / 0.005))
    assert last["name"] == "Bob" and code == 1000


def test_samples_of_another_rate(known, voice):
    *_, last, code = talk(known, {"person": "Bob", "rate": 8000, **SURE}, voice(300, rate=8000))
    assert code == 1000 and last["heard"] == 4.0 and any("8000 Hz" in line for line in last["doubts"])


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"person": "nobody"}, "no such person"),
        ({"person": "Ada", "rate": 100}, "rate: "),
        ({"person": "Ada", "speed": 1}, "speed: "),
        ({"person": "Ada", "false_accept": 0}, "false_accept: "),
        ({"person": "Ada", "false_accept": 1e-9}, "choose higher rates"),
    ],
)
def test_a_start_that_cannot_be_used(known, start, said, voice):
    answer, code = talk(known, start, [])
    assert code == 1008 and said in answer["error"]


def test_messages_that_cannot_be_used(known, serving):
    for message, said in [
        (b"\0" * 3, "odd number of bytes"),
        (b"\0" * (1 << 16) + b"\0\0", "more than 65536 bytes"),
        ("hello", "send samples, or the text `end`"),
        ("end", "empty"),
    ]:
        with known.websocket_connect(STREAM) as socket:
            socket.send_json({"person": "Ada"})
            socket.receive_json()
            (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)
            assert said in socket.receive_json()["error"]
    with known.websocket_connect(STREAM) as socket:
        socket.send_text("no json")
        assert "the first message: Invalid JSON" in socket.receive_json()["error"]


def test_a_stream_is_bounded(known, serving, voice):
    client = serving(limits={"seconds": 2, "patience": 0.5, "streams": 1})
    *_, last, code = talk(client, {"person": "Ada", **SURE}, voice(100, seconds=10.0), end=False)
    assert code == 1000 and 2 < last["heard"] <= 2.5 and last["decision"] == "undecided"
    with client.websocket_connect(STREAM) as socket:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
            pass
        assert "no message for 0.5 s" in socket.receive_json()["error"]


def test_the_first_message_may_have_the_token(serving, tmp_path):
    token = new_token(tmp_path / "tokens", "shop")
    client = serving(tokens=read_tokens(tmp_path / "tokens"))
    for given_token, said in ((token, "the book is empty"), ("x", "no valid token"), ("", "no valid token")):
        assert said in talk(client, {"token": given_token}, [])[0]["error"]
    with client.websocket_connect(STREAM, headers={"authorization": f"Bearer {token}"}) as socket:
        socket.send_json({})
        assert "the book is empty" in socket.receive_json()["error"]
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(STREAM, headers={"authorization": "Bearer x"}),
    ):
        pass
    assert refused.value.status_code == 401 and "no valid token" in refused.value.json()["error"]


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.integers(0, 1000))
@settings(max_examples=20, phases=[Phase.generate])
def test_bounds_keep_the_wished_rates(alpha, beta, seed):
    """Sums of true log-likelihood ratios of two normal distributions: errors are at most the wished rates."""
    random, bounds = np.random.default_rng(seed), Bounds.of(alpha, beta)
    for mean, wrong, rate in ((0.0, "accept", alpha), (1.0, "reject", beta)):
        steps = random.normal(mean, 1, (4000, 200)) - 0.5  # log N(x; 1, 1) - log N(x; 0, 1)
        sums = steps.cumsum(axis=1)
        out = (sums >= bounds.accept) | (sums <= bounds.reject)
        first = sums[np.arange(len(sums)), out.argmax(axis=1)]
        decided = [bounds.decide(ratio) for ratio in first[:50].tolist()]
        assert {"accept", "reject"} >= set(decided) - {None}
        errors = (first >= bounds.accept if wrong == "accept" else first <= bounds.reject).mean()
        # at most rate / (1 - other rate), and four standard deviations of 4000 draws
        most = rate / (1 - (beta if wrong == "accept" else alpha))
        assert errors <= most + 4 * math.sqrt(most * (1 - most) / len(sums))
