"""Reading packs: round trips, other Arrow readers, and errors about damaged files."""

import contextlib
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.files import fingerprint
from spkver.packs import Pack, PackWriter, verify
from spkver.packs.build import build
from spkver.packs.layout import Header

FRONT_END = {"bins": 4, "frame_shift_ms": 10.0}


def write(path: Path, lengths: list[int], kind: str = "audio", rows_per_shard: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(sum(lengths))
    front_end = FRONT_END if kind == "features" else None
    values = []
    options = {"kind": "audio", "coding": "flac"} if kind == "flac" else {"kind": kind, "front_end": front_end}
    with PackWriter(path, sample_rate=16000, rows_per_shard=rows_per_shard, **options) as pack:  # type: ignore[arg-type]
        for number, length in enumerate(lengths):
            shape = (length, 4) if front_end else (length,)
            one = random.integers(-32768, 32767, size=shape)
            values.append((one / 256).astype("<f2") if front_end else one.astype("<i2"))
            pack.add(f"u{number}", f"s{number % 2}", None if number % 3 else f"day{number}", values[-1])
    return values


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=12),
    kind=st.sampled_from(["audio", "features", "flac"]),
    rows_per_shard=st.integers(1, 5),
    data=st.data(),
)
def test_pack_round_trip(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], kind: str, rows_per_shard: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("pack") / "p"
    values = write(path, lengths, kind, rows_per_shard)
    pack = Pack.open(path)
    assert pack.lengths.tolist() == lengths
    assert pack.ids == [f"u{number}" for number in range(len(lengths))]
    assert (pack.kind, pack.sample_rate) == ("features" if kind == "features" else "audio", 16000)
    assert pack.bins == (4 if kind == "features" else None)
    for number, one in enumerate(values):
        np.testing.assert_array_equal(pack[number], one)
        start = data.draw(st.integers(0, len(one)))
        length = data.draw(st.integers(0, len(one) - start))
        np.testing.assert_array_equal(pack.crop(number, start, length), one[start : start + length])
        assert pack[number].dtype == one.dtype


def test_arrow_reads_the_same_values(tmp_path: Path) -> None:
    values = write(tmp_path / "p", [5, 600, 70, 8])
    index = json.loads((tmp_path / "p" / "pack.json").read_text())
    assert (index["rows"], index["speakers"], index["length"], index["seconds"]) == (4, 2, 683, round(683 / 16000, 3))
    tables = [pa.ipc.open_file(tmp_path / "p" / shard["file"]).read_all() for shard in index["shards"]]
    rows = pa.concat_tables(tables).to_pylist()
    assert [row["id"] for row in rows] == ["u0", "u1", "u2", "u3"]
    assert [row["session"] for row in rows] == ["day0", "", "", "day3"]
    for row, one in zip(rows, values):
        np.testing.assert_array_equal(np.frombuffer(row["payload"], "<i2"), one)


def test_crops_are_read_only_views(tmp_path: Path) -> None:
    write(tmp_path / "p", [100, 200])
    pack = Pack.open(tmp_path / "p")
    crop = pack.crop(1, 50, 100)
    assert np.shares_memory(crop, pack[1])
    assert not crop.flags.writeable
    for start, length in ((-1, 10), (150, 51), (0, -1)):
        with pytest.raises(IndexError):
            pack.crop(1, start, length)


def test_subset_and_pickled_pack_have_the_same_rows(tmp_path: Path) -> None:
    values = write(tmp_path / "p", [10, 20, 30, 40, 50])
    pack = Pack.open(tmp_path / "p")
    some = pack.subset(np.array([4, 0, 2])).subset(np.array([True, False, True]))
    for same in (some, pickle.loads(pickle.dumps(some))):
        assert same.ids == ["u4", "u2"]
        assert same.speakers == ["s0", "s0"]
        assert same.lengths.tolist() == [50, 30]
        np.testing.assert_array_equal(same[0], values[4])
    assert len(pickle.dumps(pack)) < 1000
    assert np.shares_memory(pack[4], some[0])
    assert [pack.rows_of_shard(number).tolist() for number in (0, 1)] == [[0, 1, 2], [3, 4]]
    turned = pack.subset([2, 4, 0, 1, 3])  # rows of a shard are still in file order
    assert [turned.rows_of_shard(number).tolist() for number in (0, 1)] == [[2, 3, 0], [4, 1]]


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2, {"c": 3, "d": 4}]}) == fingerprint({"b": [2, {"d": 4, "c": 3}], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2}) != fingerprint(["a", 2])


def test_pack_keeps_no_file_open(tmp_path: Path) -> None:
    write(tmp_path / "p", [10] * 30, rows_per_shard=1)
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc here")
    before = len(list(descriptors.iterdir()))
    pack = Pack.open(tmp_path / "p")
    assert len(pack) == 30
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("keep", [0, 8, 0.5, -1])
def test_truncated_shard_is_named(tmp_path: Path, keep: float) -> None:
    write(tmp_path / "p", [1000, 2000])
    shard = tmp_path / "p" / "shard-00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(InputError, match=r"shard-00000\.arrow: \d+ bytes instead of \d+: truncated"):
        Pack.open(tmp_path / "p")


def test_truncated_shard_whose_index_agrees_is_named(tmp_path: Path) -> None:
    write(tmp_path / "p", [1000, 2000])
    shard, index = tmp_path / "p" / "shard-00000.arrow", tmp_path / "p" / "pack.json"
    shard.write_bytes(shard.read_bytes()[:3000])
    content = json.loads(index.read_text())
    content["shards"][0]["bytes"] = 3000
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"shard-00000\.arrow: damaged"):
        Pack.open(tmp_path / "p")


@pytest.mark.parametrize("kind", ["audio", "flac"])
@pytest.mark.parametrize("place", range(0, 1500, 37))
def test_flipped_byte_never_crashes(tmp_path: Path, place: int, kind: str) -> None:
    """The pack is read or raises InputError, and `verify` finds every flipped byte."""
    write(tmp_path / "p", [100, 200, 50], kind)
    shard = tmp_path / "p" / "shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[-1 - place] ^= 0xFF
    shard.write_bytes(content)
    try:
        pack = Pack.open(tmp_path / "p")
    except InputError as error:
        assert "damaged" in str(error) or "columns" in str(error)
        return
    try:
        assert sum(int(pack[row].astype(np.int64).sum()) for row in range(len(pack))) is not None
    except InputError as error:
        assert kind == "flac" and "damaged FLAC" in str(error)
    with pytest.raises(InputError, match="its hash differs"):
        pack.verify_shard(0)
    assert verify(tmp_path / "p") == [f"{shard}: damaged (its hash differs); delete the pack and make it again"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": 99}, "written in format 99 by a newer spkver"),
        ({"format": None}, "not a pack of format 1"),
        ({"kind": "video"}, "invalid index"),
        ({"coding": "mp3"}, "invalid index"),
        ({"coding": "flac", "kind": "features"}, "invalid index"),
        ({"shards": [{"file": "shard-00000.arrow"}]}, "invalid index"),
        ({"sample_rate": None}, "invalid index"),
        ({"sample_rate": math.inf}, "invalid index"),
        ({"sample_rate": 0}, "invalid index"),
        ({"front_end": ""}, "invalid index"),
        ({"kind": "features", "front_end": {"bins": 3, "frame_shift_ms": 0}}, "invalid index"),
        ({"kind": "features", "front_end": {"bins": math.inf, "frame_shift_ms": 10}}, "invalid index"),
        ({"kind": "features", "front_end": {"bins": 10**400, "frame_shift_ms": 10}}, "invalid index"),
        ({"kind": "features", "front_end": {"frame_shift_ms": 10}}, "invalid index"),
        ({"kind": "features", "front_end": {"bins": 3, "frame_shift_ms": 10}}, "lengths and payloads disagree"),
    ],
)
def test_invalid_index_is_rejected(tmp_path: Path, edit: dict, message: str) -> None:
    write(tmp_path / "p", [10])
    index = tmp_path / "p" / "pack.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | edit))
    with pytest.raises(InputError, match=message):
        Pack.open(tmp_path / "p")


def test_index_with_missing_keys_or_deep_nesting_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "p", [10])
    index = tmp_path / "p" / "pack.json"
    whole = json.loads(index.read_text())
    for text in ("[" * 100_000, '{"a":' * 100_000, "[]", "3"):
        index.write_text(text)
        for act in (lambda: Pack.open(tmp_path / "p"), lambda: verify(tmp_path / "p"), lambda: again(tmp_path / "p")):
            with pytest.raises(InputError, match=r"pack\.json: "):
                act()
    for key in whole.keys() - {"checksum"}:
        index.write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
        for act in (lambda: Pack.open(tmp_path / "p"), lambda: again(tmp_path / "p")):
            with contextlib.suppress(InputError):
                act()


def again(path: Path) -> None:
    """Like `spkver pack` with an existing pack as output."""
    build(path, Header("audio", 16000), [], "another mark", rows=0)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a pack"):
        Pack.open(tmp_path / "none")
    write(tmp_path / "p", [10])
    (tmp_path / "p" / "shard-00000.arrow").unlink()
    with pytest.raises(InputError, match=r"shard-00000\.arrow: a shard of the pack is missing"):
        Pack.open(tmp_path / "p")


def test_writer_leaves_nothing_behind_on_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="u1: float32"),
        PackWriter(tmp_path / "p", kind="audio", sample_rate=16000) as pack,
    ):
        pack.add("u0", "s", None, np.zeros(5, "<i2"))
        pack.add("u1", "s", None, np.zeros(5, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_repr_does_not_read_the_memory_maps(tmp_path: Path) -> None:
    """Reading a map past the end of its file ends the process, so debuggers and failing tests must not do so."""
    write(tmp_path / "p", [100_000, 5])
    pack = Pack.open(tmp_path / "p")
    (shard,) = (tmp_path / "p").glob("*.arrow")
    with shard.open("r+b") as file:
        file.truncate(0)
    assert repr(pack) == f"Pack('{tmp_path / 'p'}', 2 utterances)"


MEASURE = """
import sys
import numpy as np
from spkver.packs import Pack

def own():
    lines = open("/proc/self/status").read().split("\\n")
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

pack = Pack.open(sys.argv[1])
random = np.random.default_rng(0)
before, most, read = own(), 0, 0
for count in range(3 * len(pack)):
    row = int(random.integers(len(pack)))
    read += np.array(pack.crop(row, int(random.integers(pack.lengths[row] - 32000)), 32000)).nbytes
    if count % 50 == 0:
        most = max(most, own() - before)
print(read >> 20, round(most))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_crops_use_constant_memory(tmp_path: Path) -> None:
    """A pack of 160 MB. Mapped pages belong to the file, and the system can reclaim them."""
    samples = np.random.default_rng(0).integers(-9000, 9000, size=160000).astype("<i2")
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000, rows_per_shard=50) as writer:
        for number in range(500):
            writer.add(f"u{number}", "s", "", samples)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "p")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    read, own = (int(word) for word in done.stdout.split())
    assert read > 90
    assert own < 40
