from __future__ import annotations

import errno
import json
import struct
import sys
import threading
from types import SimpleNamespace

import pytest

from spkver.errors import InputError
from spkver.training.monitoring.monitor import Monitor
from spkver.training.monitoring.writers import WANDB_ID, Events, open_writers


class FakeWandb:
    """A stand-in for the parts of wandb that are used."""

    class Error(Exception):
        pass

    def __init__(self, failure=None):
        self.errors, self.Settings = SimpleNamespace(Error=self.Error), lambda **keys: keys
        self.asked, self.logged, self.finished, self.failure = [], [], False, failure

    def init(self, **keys):
        if self.failure:
            raise self.Error(self.failure)
        self.asked.append(keys)
        finish = lambda: setattr(self, "finished", True)  # noqa: E731
        log = lambda values, step: self.logged.append((step, values))  # noqa: E731
        return SimpleNamespace(url="https://wandb/x", dir="x", log=log, finish=finish)


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    return fake


def test_wandb_gets_records_and_resumes_the_same_run(wandb, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    told = []
    for first in (0, 2):
        monitor = Monitor(told.append, open_writers(tmp_path, first, told.append, "my-project"))
        monitor.record(first + 2, 4, {"loss": 1.5, "accuracy": 0.25})
        monitor.close()
    assert [asked["id"] for asked in wandb.asked] == [(tmp_path / WANDB_ID).read_text().strip()] * 2
    assert wandb.asked[0]["project"] == "my-project" and wandb.asked[0]["config"] == {"seed": 3}
    assert wandb.logged == [(2, {"loss": 1.5, "accuracy": 0.25}), (4, {"loss": 1.5, "accuracy": 0.25})]
    assert wandb.finished and "wandb: https://wandb/x" in told
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [2, 4]


def test_unavailable_wandb_is_rejected(wandb, tmp_path, monkeypatch):
    wandb.failure = "api_key not\nconfigured"
    with pytest.raises(
        InputError, match="api_key not configured; log in with 'wandb login', or set WANDB_MODE=offline"
    ):
        open_writers(tmp_path, 0, print, "p")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'spkver\[wandb\]'"):
        open_writers(tmp_path, 0, print, "p")


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told = []
    monitor = Monitor(told.append, open_writers(tmp_path, 0, told.append, "p"))
    monitor.record(1, 1, {"loss": 0.5})
    monitor.close()
    assert any(path.stat().st_size for path in tmp_path.rglob("*.wandb"))


def test_progress_bar_text():
    told = []
    monitor = Monitor(told.append)
    assert monitor.glance() == ""
    monitor.record(1, 9, {"loss": 2.0, "target_cosine": 0.5, "hardest_cosine": 0.25}, "1:00 left")
    monitor.record(1, 9, {"dev_eer": 0.0512})
    monitor.record(2, 9, {"loss": 1.0})
    assert told[0] == "step 1/9  loss 2.000  1:00 left"
    assert monitor.glance() == "loss 1.000, dev EER 5.12%"


def test_log_line_fits_120_columns():
    """With the largest numbers of a long run; metrics.jsonl has the numbers that the line omits."""
    told = []
    values = {"loss": 12.345, "accuracy": 1.0, "margin_accuracy": 1.0, "boundary_share": 1.0, "target_cosine": -0.123}
    values |= {"hardest_cosine": -0.123, "distil_cosine": 0.123, "penalty": 1.234, "gradient_norm": 1234.56}
    values |= {"lr": 1e-4, "margin": 0.25, "scale": 32.0, "annealing": 1000.0, "skipped": 10.0}
    values |= {"utterances_per_second": 12345.0, "waiting": 1.0}
    Monitor(told.append).record(640_000, 640_000, values, "123:45:59 left")
    shown = "loss 12.345  accuracy 100.0%  lr 1.00e-04  margin 0.250  10 skipped  12345 utt/s  123:45:59 left"
    assert told == [f"step 640000/640000  {shown}"]
    assert len(told[0]) <= 120


def events(folder):
    """The events in the only file: (step, tag, value), or (step, status) at the start of a session."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = (folder / "events").iterdir()
    content, found = path.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        event = Event()
        event.ParseFromString(content[12 : 12 + size])
        found += [(event.step, one.tag, one.simple_value) for one in event.summary.value]
        found += [(event.step, event.session_log.status)] if event.HasField("session_log") else []
        content = content[16 + size :]
    return found


def test_events_of_a_resumed_run(tmp_path):
    pytest.importorskip("tensorboardX")
    for name, first, session in (("new", 0, []), ("resumed", 2, [(3, 1)])):
        writer = Events(tmp_path / name, first)
        writer.write(first + 1, {"loss": 1.5, "accuracy": 0.25})
        writer.close()
        step = first + 1
        assert events(tmp_path / name) == [*session, (step, "loss", 1.5), (step, "accuracy", 0.25)]


def test_events_on_a_full_disk_end_the_run(tmp_path, monkeypatch):
    record_writer = pytest.importorskip("tensorboardX.record_writer")
    before = threading.enumerate()
    writer = Events(tmp_path, 0)
    assert threading.enumerate() == before  # a writer thread would die, and the run would wait forever

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    with pytest.raises(OSError, match="events") as found:
        writer.write(1, {"loss": 1.0})
    assert found.value.filename == str(tmp_path / "events")
