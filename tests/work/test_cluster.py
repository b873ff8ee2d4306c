"""Work on real Ray clusters of several nodes on this machine: the same bytes, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import Encoder
from spkver.errors import RunError
from spkver.extraction import extract
from spkver.features import FrontEndConfig
from spkver.packs import make_features, pack_audio
from spkver.scoring.backend import BackEnd
from spkver.scoring.cohort import CohortFile
from spkver.scoring.files import score_all, score_list
from spkver.scoring.highest import Search, score_top
from spkver.scoring.normalisation import normalise_file
from spkver.trials import make_trials, write_trials
from spkver.work import cluster as module
from spkver.work import engine

pytest.importorskip("ray")

STORE = 80 << 20  # bytes; the smallest that Ray accepts is 75 MiB


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=STORE)
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    del os.environ["RAY_ADDRESS"]
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 recordings of a quarter of a second, of which three cannot be used; as `data` and as what one run makes."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    ids = [f"u{number:03}" for number in range(210)]
    for name in ids:
        soundfile.write(folder / f"{name}.wav", 0.1 * random.normal(size=random.integers(3, 6) * 800), 16000)
    (folder / "u007.wav").write_bytes(b"")
    (folder / "u120.wav").unlink()
    soundfile.write(folder / "u209.wav", np.zeros(4000), 16000)
    paths = [str(folder / f"{name}.wav") for name in ids]
    write_datadir(folder / "data", from_columns(ids, paths, [name[:3] for name in ids]))
    return folder


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def pack(corpus: Path, out: Path, **options: Any) -> Any:
    from spkver.datadir import read_datadir

    data = read_datadir(corpus / "data", allow_pipes=True)
    return pack_audio(data, out, rows_per_shard=15, min_seconds=0.1, allow_pipes=True, **options)


def slow_corpus(corpus: Path, tmp_path: Path, read: str) -> Path:
    """The same recordings through a shell command."""
    from spkver.datadir import read_datadir

    data = read_datadir(corpus / "data")
    piped = [f"{read} {path} |" for path in data.paths]
    write_datadir(tmp_path / "data", from_columns(data.ids, piped, data.speakers))
    return tmp_path


def test_same_bytes_as_a_local_run(cluster: Any, corpus: Path, tmp_path: Path, tiny_model: Path) -> None:
    encoder = Encoder.open(tiny_model)
    for name, on in (("here", engine("local", 1)), ("there", engine("ray"))):
        summary = pack(corpus, tmp_path / name, on=on)
        assert (summary.rows, summary.rejected) == (207, 3)
        make_features(tmp_path / "here", tmp_path / f"{name}.features", FrontEndConfig(bins=20), on=on)
        done = extract(encoder, corpus / "data", tmp_path / f"{name}.parquet", on=on)
        assert done is not None and (done.embeddings, len(done.rejected)) == (207, 3)
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert content(tmp_path / "here.features") == content(tmp_path / "there.features")
    for suffix in (".parquet", ".parquet.rejected.jsonl"):
        assert (tmp_path / f"here{suffix}").read_bytes() == (tmp_path / f"there{suffix}").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_scores_have_the_same_bytes(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for name, rows in (("emb", 60), ("cohort", 40)):
        vectors = random.normal(size=(rows, 8)).astype(np.float32)
        write_embeddings(tmp_path / f"{name}.parquet", Embeddings([f"{name}{row:02}" for row in range(rows)], vectors))
    emb, trials, back_end = tmp_path / "emb.parquet", tmp_path / "trials", BackEnd()
    ids, speakers = zip(*((f"emb{row:02}", f"s{row % 5}") for row in range(60)))
    write_trials(trials, make_trials(ids, speakers, nontargets=900, seed=0))
    monkeypatch.setattr("spkver.trials.files.SPAN", 5000)
    monkeypatch.setattr("spkver.scoring.files._CELLS", 700)
    monkeypatch.setattr("spkver.scoring.normalisation._ROWS", 25)
    sides = back_end.open(emb)
    for name, on in (("here", engine("local", 2, threads=True)), ("there", engine("ray", 1))):
        score_list(trials, sides, tmp_path / f"{name}.txt", on=on)
        score_all(sides, tmp_path / f"{name}.all", on=on)
        score_top(Search(back_end, emb), 5, tmp_path / f"{name}.top", on=on)
        cohort = CohortFile(tmp_path / "cohort.parquet", back_end, top=20)
        statistics = cohort.statistics(emb, on=on, kept=tmp_path / f"{name}.cohort")
        normalise_file(tmp_path / f"{name}.txt", *statistics, tmp_path / f"{name}.normalised", on=on)
    for suffix in (".txt", ".all", ".top", ".normalised", ".cohort/enrol.parquet"):
        assert (tmp_path / f"here{suffix}").read_bytes() == (tmp_path / f"there{suffix}").read_bytes()


def test_node_that_dies_loses_only_what_was_not_finished(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    """A third node is killed while it works. Each recording that was read writes a line, so repetitions are seen."""
    log = tmp_path / "log"
    slow = slow_corpus(corpus, tmp_path, f"echo >> {log}; sleep 0.1; cat")
    third = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    records = tmp_path / "p.partial" / "records"

    def kill() -> None:
        while len(list(records.glob("*.json"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(third, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = pack(slow, tmp_path / "p", on=engine("ray", 3))
    killer.join()
    assert (summary.rows, summary.rejected) == (207, 3)
    assert len(log.read_text()) < 210 + 2 * 15  # the dead worker's part, and no other, was made again
    pack(slow, tmp_path / "whole", on=engine("local", 1))
    assert content(tmp_path / "p") == content(tmp_path / "whole")


DRIVER = """
import sys
from spkver.datadir import read_datadir
from spkver.packs import pack_audio
from spkver.work import engine

data = read_datadir(sys.argv[1], allow_pipes=True)
pack_audio(data, sys.argv[2], rows_per_shard=15, min_seconds=0.1, allow_pipes=True, on=engine("ray"))
"""


def test_driver_that_dies_repeats_nothing(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    slow = slow_corpus(corpus, tmp_path, "sleep 0.05; cat")
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, *map(str, (tmp_path / "driver.py", slow / "data", tmp_path / "p"))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    records = tmp_path / "p.partial" / "records"
    driver = subprocess.Popen(command, env=environment)
    while len(list(records.glob("*.json"))) < 3:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(3)  # the cluster ends the workers of the dead driver
    done = len(list(records.glob("*.json")))
    assert done < 14
    assert pack(slow, tmp_path / "p", on=engine("ray")).kept == done
    pack(slow, tmp_path / "whole", on=engine("local", 1))
    assert content(tmp_path / "p") == content(tmp_path / "whole")


class Dies:
    """Ends its process once at item 1, and always at item 4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, item: int, cores: int) -> int:
        seen = self.folder / str(item)
        if item == 4 or (item == 1 and not seen.exists()):
            seen.touch()
            os._exit(9)
        return item * cores


def test_part_that_kills_its_workers_ends_the_run(cluster: Any, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    with pytest.raises(RunError, match="4 workers died on part 4"):
        done.extend(engine("ray").map(Dies(tmp_path), range(5)))
    assert sorted(done) == [(n, n) for n in range(4)] and (tmp_path / "1").exists()


class Unready:
    """A function that ends the process that gets it."""

    def __init__(self) -> None:
        self.driver = os.getpid()

    def __setstate__(self, state: dict[str, int]) -> None:
        if state["driver"] != os.getpid():
            os._exit(9)

    def __call__(self, item: int, cores: int) -> int:
        return item


def test_workers_that_die_when_they_start_end_the_run(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRIES", 1)
    with pytest.raises(RunError, match="Ray: workers die when they start: "):
        list(engine("ray", 1).map(Unready(), range(2)))


def double(item: int, cores: int) -> int:
    return 2 * item


def test_a_cluster_without_free_cores_is_waited_for(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    engine("ray")._connect()  # type: ignore[attr-defined]
    group = ray.util.placement_group([{"CPU": 1}, {"CPU": 1}])
    ray.get(group.ready())
    release = threading.Timer(1.0, ray.util.remove_placement_group, [group])
    release.start()
    assert sorted(engine("ray", 1).map(double, range(3))) == [(n, 2 * n) for n in range(3)]
    assert "waiting for free cores of the Ray cluster" in capsys.readouterr().err


def test_function_that_the_object_store_refuses_is_one_line(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def full(value: object) -> None:
        raise ray.exceptions.ObjectStoreFullError("Failed to put object:\n  the store is full")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(RunError, match=r"^Ray: .*the store is full.*; give its object store more memory$"):
        list(engine("ray").map(double, range(3)))


class Large:
    """A function of 100 MB, more than the object store holds."""

    def __init__(self) -> None:
        self.values = np.arange(25_000_000, dtype=np.float32)

    def __call__(self, item: int, cores: int) -> float:
        time.sleep(0.5 if os.environ.get("RAY_RAYLET_PID") == str(item) else 0)
        return float(self.values[item])


def test_object_store_that_is_too_small(cluster: Any) -> None:
    assert sorted(engine("ray").map(Large(), range(4))) == [(n, float(n)) for n in range(4)]


class Places:
    """Where an item was worked on; the node of the first call is slow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, item: int, cores: int) -> int:
        raylet = os.getppid()
        slow = self.folder / "slow"
        if not slow.exists():
            slow.write_text(str(raylet))
        time.sleep(1.0 if slow.read_text() == str(raylet) else 0.05)
        return raylet


def test_slow_node_gets_fewer_parts(cluster: Any, tmp_path: Path) -> None:
    places = [place for _, place in engine("ray").map(Places(tmp_path), range(20))]
    slow = int((tmp_path / "slow").read_text())
    assert 1 <= places.count(slow) < 10 and len(places) == 20


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "no answer"), ("192.0.2.1", "RAY_ADDRESS"), ("nowhere.invalid:6379", "no answer")],
)
def test_address_that_does_not_answer_is_one_line(tmp_path: Path, corpus: Path, address: str, message: str) -> None:
    command = [sys.executable, "-m", "spkver", "pack", str(corpus / "data"), str(tmp_path / "p"), "--on", "ray"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RAY_ADDRESS": address})
    assert run.returncode == 1
    errors = run.stderr.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("spkver: error: ") and message in errors[0]
