"""Routes, without a network."""

from __future__ import annotations

import base64
import logging
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from spkver.audio import Content
from spkver.encoder import Encoder
from spkver.errors import InputError

from .conftest import RATE, pcm


def files(**named):
    return [(name, ("x", content)) for name, several in named.items() for content in np.atleast_1d(several).tolist()]


def enrolled(client, recording, name="Ada", pitch=100, number=2):
    sent = [("audio", ("x", recording(pitch, seed=seed))) for seed in range(number)]
    answer = client.post("/v1/enrol", data={"name": name}, files=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_embedding_is_that_of_the_file(client, recording, verifier, tmp_path):
    (tmp_path / "a.flac").write_bytes(content := recording(100, ".flac"))
    expected = verifier.listen(tmp_path / "a.flac")
    for answer in (
        client.post("/v1/embed", files={"audio": content}),
        client.post("/v1/embed", content=content, headers={"content-type": "audio/flac"}),
    ):
        found = answer.json()
        np.testing.assert_allclose(found["embedding"], expected.vector, atol=1e-6)
        assert found["seconds"] == expected.seconds and found["model"] == verifier.model_id
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("rate", [8000, RATE, 44100])
@pytest.mark.parametrize(
    ("order", "parameters"),
    [("<i2", ""), ("<i2", "; endianness=little-endian"), (">i2", "; endianness=big-endian")],
)
def test_raw_samples(client, voice, verifier, order, parameters, rate):
    waveform = voice(120, rate=rate)
    kind = f"audio/L16; rate={rate}{parameters}"
    found = client.post("/v1/embed", content=pcm(waveform, order), headers={"content-type": kind}).json()
    expected = verifier.listen((waveform * 32767).round().astype(np.int16), rate)
    np.testing.assert_allclose(found["embedding"], expected.vector, atol=1e-5)


def test_raw_samples_that_cannot_be_read(client):
    for kind, content, said in [
        ("audio/L16", b"\0\1" * 9000, "needs the sample rate"),
        ("audio/L16; rate=16000", b"\0" * 9001, "odd number of bytes"),
        ("audio/L16; rate=16000; channels=2", b"\0" * 9000, "one channel"),
        ("audio/L16; rate=1", b"\0" * 9000, "not an integer from 2000"),
        ("audio/L16; rate=16000; endianness=x", b"\0" * 9000, "little-endian or big-endian"),
        ("audio/L16; rate=16000", b"", "empty"),
    ]:
        answer = client.post("/v1/embed", content=content, headers={"content-type": kind})
        assert answer.status_code == 422 and said in answer.json()["error"], answer.text


def test_verification_is_that_of_the_toolkit(client, recording, verifier):
    one, two, test = (Content("x", recording(100, seed=seed)) for seed in range(3))
    expected = verifier.verify([one, two], test, prior=0.3)
    sent = [("enrolment", ("x", one.data)), ("enrolment", ("y", two.data)), ("test", ("z", test.data))]
    found = client.post("/v1/verify?prior=0.3", files=sent).json()
    assert found["score"] == pytest.approx(expected.score, abs=1e-6)
    assert found["same"] == expected.same and found["probability"] == pytest.approx(expected.probability, abs=1e-4)
    assert found["log_likelihood_ratio"] == pytest.approx(expected.ratio, abs=1e-4)
    assert client.post("/v1/verify?threshold=2", files=sent).json()["same"] is False


def test_people(client, recording, verifier):
    ada = enrolled(client, recording)
    assert (ada["recordings"], ada["new"]) == (2, 2)
    assert enrolled(client, recording)["new"] == 0  # known already
    test = {"audio": recording(100, seed=7)}
    found = client.post("/v1/identify?top=5", files=test).json()
    assert found["name"] == "Ada" and found["id"] == ada["id"] and len(found["candidates"]) == 1
    enrolled(client, recording, "Bób", 300, 1)  # the tiny model hardly tells the two apart
    assert [one["name"] for one in client.get("/v1/speakers").json()["speakers"]] == ["Ada", "Bób"]
    found = client.post("/v1/identify", files=test).json()
    assert found["name"] is None and found["ambiguous"] and len(found["candidates"]) == 2
    assert found["candidates"][0]["score"] >= found["threshold"]
    assert client.post("/v1/identify?threshold=9", files=test).json()["name"] is None
    for person in ("Ada", ada["id"]):
        claimed = client.post("/v1/verify", data={"person": person}, files={"test": test["audio"]}).json()
        assert claimed["score"] == pytest.approx(found["candidates"][0]["score"], abs=1e-6) and claimed["same"]
    assert client.post("/v1/forget", json={"id": ada["id"]}).json() == {"left": 1}
    assert client.post("/v1/forget", json={"name": "Bób"}).json() == {"left": 0}
    assert client.post("/v1/forget", json={"name": "Bób"}).status_code == 404
    assert client.post("/v1/identify", files=test).json()["candidates"] == []


def test_a_name_that_is_the_id_of_another_person(client, recording):
    ada = enrolled(client, recording, number=1)
    enrolled(client, recording, ada["id"], 300, 1)
    assert client.post("/v1/forget", json={"name": ada["id"]}).status_code == 200
    assert [one["name"] for one in client.get("/v1/speakers").json()["speakers"]] == ["Ada"]


def test_consent(client, recording):
    sent = {"data": {"name": "Ada", "purpose": "door", "until": "2999-12-31"}, "files": {"audio": recording(100)}}
    assert client.post("/v1/enrol", **sent).json()["until"] == "2999-12-31"
    (ada,) = client.get("/v1/speakers").json()["speakers"]
    assert (ada["purpose"], ada["until"]) == ("door", "2999-12-31")
    form = "give a day as YYYY-MM-DD"
    days = {"tomorrow": form, "29991231": form, "2999-W01-1": form, "1999-01-01": "has passed"}
    for day, said in days.items():
        sent["data"]["until"] = day
        assert said in client.post("/v1/enrol", **sent).json()["error"]


def test_diarization(client, voice, recording):
    answer = client.post("/v1/diarize", files={"audio": recording(100)})
    assert answer.status_code == 422 and "no threshold for diarization" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "sent", "said"),
    [
        ("/v1/embed", {"files": {"other": b"x"}}, "'audio' is missing"),
        ("/v1/embed", {"files": {"audio": b"no recording"}}, "cannot be decoded"),
        ("/v1/embed", {"files": {"audio": b""}}, "empty"),
        ("/v1/verify", {"files": {"test": b"x"}}, "'enrolment' is missing"),
        ("/v1/verify", {"files": {"test": b"x", "enrolment": b"y"}, "data": {"person": "Ada"}}, "not both"),
        ("/v1/verify?prior=1", {"files": {"test": b"x"}}, "query.prior"),
        ("/v1/verify?threshold=nan", {"files": {"test": b"x"}}, "query.threshold"),
        ("/v1/enrol", {"files": {"audio": b"x"}}, "1 to 200 characters"),
        ("/v1/enrol", {"files": {"audio": b"x"}, "data": {"name": "\x00"}}, "control characters"),
        ("/v1/forget", {"json": {}}, "`name` or `id`"),
        ("/v1/forget", {"json": {"name": 5}}, "body.name"),
        ("/v1/forget", {"json": {"name": "x" * 201}}, "body.name"),
        ("/v1/identify?top=1000", {"files": {"audio": b"x"}}, "query.top"),
    ],
)
def test_values_that_cannot_be_used(client, path, sent, said):
    answer = client.post(path, **sent)
    assert answer.status_code == 422 and said in answer.json()["error"], answer.text


def test_a_recording_of_two_channels(client, voice, tmp_path):
    from spkver import audio

    audio.write(tmp_path / "x.wav", np.stack([voice(100), voice(300)], axis=1), RATE)
    content = (tmp_path / "x.wav").read_bytes()
    said = client.post("/v1/embed", files={"audio": content}).json()["error"]
    assert said.endswith("2 channels; choose one from 0 to 1 (?channel=)")
    assert client.post("/v1/embed?channel=1", files={"audio": content}).status_code == 200
    assert voice_post(client, "embed", audio=content).json()["error"] == "audio: 2 channels; send one"


def test_a_model_without_threshold(client, recording, verifier, monkeypatch):
    monkeypatch.setattr(verifier, "decision", None)
    said = client.post("/v1/identify", files={"audio": recording(100)}).json()["error"]
    assert "give ?threshold=, or" in said


def test_a_decoder_that_is_not_installed(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    answer = client.post("/v1/embed", files={"audio": b"\0\0\0\x1cftypM4A " + bytes(99)})
    assert answer.status_code == 422 and "its operator installs the extra m4a" in answer.json()["error"]


def test_errors_of_http(client):
    for answer, status in [
        (client.get("/v2/embed"), 404),
        (client.delete("/v1/embed"), 405),
        (client.post("/v1/embed", content=b"x", headers={"content-type": "text/plain"}), 415),
        (client.post("/v1/embed", content=b"x", headers={"content-type": "multipart/form-data"}), 400),
        (client.post("/v1/embed", content=b"x", headers={"content-type": "multipart/form-data; boundary=y"}), 400),
        (client.post("/v1/forget", content=b'{"name": "Ada"}'), 415),
        (client.post("/v1/forget", content=b'{"name": ', headers={"content-type": "application/json"}), 400),
        (client.post("/v1/forget", content=b"[" * 100000, headers={"content-type": "application/json"}), 400),
    ]:
        assert answer.status_code == status and list(answer.json()) == ["error"], answer.text


def test_a_book_that_cannot_be_read_is_for_the_operator(client, recording, tmp_path, caplog):
    enrolled(client, recording)
    (tmp_path / "book" / "voices.parquet").write_bytes(b"damaged")
    for _ in range(2):
        answer = client.get("/v1/speakers")
        assert answer.status_code == 503 and "cannot be read; see the log" in answer.json()["error"]
    assert caplog.text.count("voices.parquet: ") == 1 and "Ada" not in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_book_that_others_may_read_is_for_the_operator(client, recording, tmp_path):
    enrolled(client, recording)
    (tmp_path / "book").chmod(0o755)
    for answer in (client.get("/v1/speakers"), client.post("/v1/forget", json={"name": "Ada"})):
        assert answer.status_code == 503 and "see the log" in answer.json()["error"]
    (tmp_path / "book").chmod(0o700)
    assert client.get("/v1/speakers").status_code == 200


def test_only_whole_paths_are_hidden(verifier, tmp_path, monkeypatch):
    from spkver.serve.app import hidden
    from spkver.serve.config import Limits
    from spkver.serve.service import Service

    monkeypatch.chdir(tmp_path)
    service = Service(verifier, Path("b"), Limits())
    monkeypatch.setattr(service.verifier, "place", ("m", "cpu"))
    assert hidden("audio: cannot be decoded by me", service) == "audio: cannot be decoded by me"
    assert hidden(f"{tmp_path}/b/voices.parquet: not a book", service) == "the book: not a book"
    assert hidden(f"{tmp_path}/m/model.pt and {tmp_path}/m: gone", service) == "the model and the model: gone"


def test_a_book_of_another_model(client, tmp_path):
    from spkver.embeddings import Embeddings
    from spkver.verify import book

    book.enrol(tmp_path / "book", "Ada", Embeddings(["1"], np.ones((1, 16), np.float32), None, "other"))
    answer = client.get("/v1/speakers")
    assert answer.status_code == 409 and "another model" in answer.json()["error"]


def test_an_unexpected_error_says_nothing(client, verifier, monkeypatch, recording, caplog):
    def fails(*args, **options):
        raise KeyError("Ada")

    monkeypatch.setattr(type(verifier), "listen", fails)
    answer = client.post("/v1/embed", files={"audio": recording(100)})
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert "KeyError at" in caplog.text and "Ada" not in caplog.text


def test_the_log_has_no_name(client, recording, caplog):
    caplog.set_level(logging.INFO)
    enrolled(client, recording, "Lovelace", number=1)
    client.get("/v1/Lovelace?name=Lovelace")
    client.post("/v1/forget", json={"name": "Lovelace"})
    own = [one.getMessage() for one in caplog.records if one.name == "spkver.serve"]
    assert len(own) == 3 and "POST /v1/enrol 200" in own[0] and "GET - 404" in own[1]
    assert not any("Lovelace" in line for line in own)


def test_recordings_stay_in_memory(client, monkeypatch, recording):
    import tempfile

    def refuse(*args, **options):
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    long = recording(100, seconds=60.0)  # longer than what a form keeps in memory by default
    assert len(long) > 1 << 20 and client.post("/v1/embed", files={"audio": long}).status_code == 200


def test_metrics_and_pages(client, recording):
    client.post("/v1/embed", files={"audio": recording(100)})
    text = client.get("/metrics").text
    assert 'spkver_requests_total{method="POST",route="/v1/embed",status="200"}' in text
    assert "spkver_batch_size_count" in text
    page = client.get("/docs").text
    assert "/v1/voice/identify" in page and "default-src 'none'" in page
    assert client.get("/openapi.json").json()["openapi"].startswith("3.")
    page = client.get("/").text
    assert "Hold and speak" in page and '"rate": 16000' in page and "connect-src 'self'" in page
    assert client.get("/health").json() == {"status": "ok"}


def test_recordings_of_equal_length_share_a_batch(verifier, voice):
    waveforms = [voice(100 + 20 * row, seconds=2.0 if row % 4 else 3.0) for row in range(12)]
    expected = [verifier.embed_batch(waveform[None])[0] for waveform in waveforms]
    found = [None] * 12
    verifier.batches.clear()

    def work(row):
        found[row] = verifier.embed_batch(waveforms[row][None])[0]

    with verifier._turn:  # all of them wait
        threads = [threading.Thread(target=work, args=(row,)) for row in range(12)]
        for thread in threads:
            thread.start()
        while len(verifier._waiting) < 12:
            pass
    for thread in threads:
        thread.join()
    assert sorted(verifier.batches) == [3, 9]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_recording_that_fails_alone_fails_alone(verifier, voice, monkeypatch):
    good, bad = voice(100, seconds=2.0), voice(150, seconds=2.0)
    expected = verifier.embed_batch(good[None])
    embed_batch = Encoder.embed_batch

    def fails(self, waveforms):
        if (waveforms == bad).all(axis=1).any():
            raise InputError("not finite")
        return embed_batch(self, waveforms)

    monkeypatch.setattr(Encoder, "embed_batch", fails)
    results = {}

    def work(name, waveform):
        try:
            results[name] = verifier.embed_batch(waveform[None])
        except InputError as error:
            results[name] = error

    with verifier._turn:
        threads = [threading.Thread(target=work, args=pair) for pair in [("good", good), ("bad", bad)]]
        for thread in threads:
            thread.start()
        while len(verifier._waiting) < 2:
            pass
    for thread in threads:
        thread.join()
    assert isinstance(results["bad"], InputError)
    np.testing.assert_allclose(results["good"], expected, atol=1e-6)


def test_an_onnx_file_without_threshold(verifier, recording, tmp_path):
    pytest.importorskip("onnxruntime")
    from spkver.config import validate
    from spkver.export.onnx import OnnxExport
    from spkver.serve.batching import SharedVerifier
    from spkver.serve.config import Limits
    from spkver.serve.service import Service

    OnnxExport(validate(OnnxExport.Config, {})).write(verifier, tmp_path / "x.onnx")
    exported = SharedVerifier.open(tmp_path / "x.onnx").prepare()
    service, content = Service(exported, tmp_path / "book", Limits()), Content("x", recording(100))
    np.testing.assert_allclose(service.embed(content).embedding, verifier.listen(content).vector, atol=1e-5)
    assert service.verify([content], content).same is None
    with pytest.raises(InputError, match="no stored threshold"):
        service.identify("", content)


def voice_post(client, path, **values):
    audio = {key: base64.b64encode(one).decode() if isinstance(one, bytes) else one for key, one in values.items()}
    return client.post(f"/v1/voice/{path}", json={"model": "speechbrain-ecapa-tdnn", **audio})


def test_localai(client, recording, verifier):
    one, two, other = recording(100), recording(100, seed=1), recording(300)
    assert voice_post(client, "embed", audio=one).json()["dim"] == verifier.dim
    same = voice_post(client, "verify", audio1=one, audio2=two).json()
    assert set(same) == {"verified", "distance", "threshold", "confidence", "model", "processing_time_ms"}
    expected = verifier.verify(Content("1", one), Content("2", two))
    assert same["verified"] == expected.same and same["distance"] == pytest.approx(1 - expected.probability, abs=1e-4)
    assert same["confidence"] == pytest.approx(100 * expected.probability, abs=1e-2)
    strict = voice_post(client, "verify", audio1=one, audio2=two, threshold=1e-9).json()
    assert strict["threshold"] == 1e-9 and not strict["verified"]
    added = voice_post(client, "register", audio=one, name="Ada").json()
    assert set(added) == {"id", "name", "registered_at"}
    voice_post(client, "register", audio=other, name="Bob")
    uri = "data:audio/wav;base64," + base64.b64encode(two).decode()
    matches = voice_post(client, "identify", audio=uri).json()["matches"]
    assert [one["name"] for one in matches] == ["Ada", "Bob"]
    assert matches[0]["id"] == added["id"] and matches[0]["match"]
    assert voice_post(client, "forget", id=added["id"]).status_code == 204
    assert voice_post(client, "forget", id=added["id"]).status_code == 404
    assert voice_post(client, "analyze", audio=one).status_code == 501


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"audio": "http://169.254.169.254/latest"}, "does not download"),
        ({"audio": "FILE:///etc/passwd"}, "does not download"),
        ({"audio": "$$$"}, "not base64"),
        ({"audio": ""}, "empty"),
        ({"audio": "aGVsbG8="}, "cannot be decoded"),
        ({"audio": "aGVsbG8=", "store": "x"}, "body.store: not supported; leave it out"),
    ],
)
def test_localai_refuses(client, values, said):
    answer = voice_post(client, "embed", **values)
    assert answer.status_code == 422 and said in answer.json()["error"], answer.text
