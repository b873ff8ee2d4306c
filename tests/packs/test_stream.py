"""Sequential reading: every utterance once, well shuffled, in constant memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spkver.errors import InputError
from spkver.packs import Pack, PackWriter, stream


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """400 utterances in 20 shards."""
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000, rows_per_shard=20) as writer:
        for number in range(400):
            writer.add(f"u{number}", f"s{number // 20}", "", np.full(100 + number % 7, number, "<i2"))
    return Pack.open(tmp_path / "p")


def test_stream_gives_every_utterance_once(pack: Pack) -> None:
    found = list(stream(pack, buffer_bytes=5000))
    assert sorted(row for row, _ in found) == list(range(400))
    for row, values in found:
        assert values.tolist() == [row] * (100 + row % 7)


def test_stream_order_depends_on_the_epoch(pack: Pack) -> None:
    first, again, later, other = (
        [row for row, _ in stream(pack, seed=seed, epoch=epoch)] for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert first == again
    assert len({tuple(order) for order in (first, later, other)}) == 3


def test_stream_separates_neighbours_on_disk(pack: Pack) -> None:
    """Any 40 consecutive utterances come from many shards (8 read at a time, a buffer of about 50 utterances)."""
    rows = np.array([row for row, _ in stream(pack, buffer_bytes=10000)])
    kinds = [len(set(rows[start : start + 40] // 20)) for start in range(0, 400, 40)]
    assert min(kinds[:-1]) >= 7
    assert abs(np.corrcoef(rows, np.arange(400))[0, 1]) < 0.5


def test_stream_of_a_subset(pack: Pack) -> None:
    some = pack.subset([399, 5, 17])
    assert sorted((row, int(values[0])) for row, values in stream(some)) == [(0, 399), (1, 5), (2, 17)]


def test_shard_truncated_while_open_is_named(pack: Pack) -> None:
    path = pack.path / "shard-00003.arrow"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"shard-00003\.arrow: ends early"):
        list(stream(pack))


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
import numpy as np
from spkver.packs import Pack, stream

def resident(kind):
    lines = open("/proc/self/status").read().split("\\n")
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024

pack = Pack.open(sys.argv[1])
random = np.random.default_rng(0)
most, before, read = {}, {kind: resident(kind) for kind in ("VmRSS", "RssAnon")}, 0
for count in range(3 * len(pack)):
    if sys.argv[2] == "stream":
        if count % len(pack) == 0:
            reader = stream(pack, epoch=count // len(pack), buffer_bytes=16 << 20)
        values = next(reader)[1]
    else:
        row = int(random.integers(len(pack)))
        values = np.array(pack.crop(row, int(random.integers(pack.lengths[row] - 32000)), 32000))
    read += values.nbytes
    if count % 50 == 0:
        most = {kind: max(most.get(kind, 0), resident(kind) - before[kind]) for kind in before}
print(read >> 20, *(round(most[kind]) for kind in ("VmRSS", "RssAnon")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("reader", ["stream", "crops"])
def test_stream_uses_constant_memory(tmp_path: Path, reader: str) -> None:
    """A pack of 160 MB, read three times. Mapped pages belong to the file, and the system can reclaim them.

    The sequential reader maps none; random crops map them, and hold nothing of their own.
    """
    samples = np.random.default_rng(0).integers(-9000, 9000, size=160000).astype("<i2")
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000, rows_per_shard=50) as writer:
        for number in range(500):
            writer.add(f"u{number}", "s", "", samples)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "p"), reader]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    read, resident, own = (int(word) for word in done.stdout.split())
    assert read > 90
    assert own < 40
    if reader == "stream":
        assert read > 450 and resident < 40
