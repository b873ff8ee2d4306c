"""Packs by URL: the same rows and payloads as on disk, read in ranges, from copies that are verified."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from spkver.errors import InputError, RunError
from spkver.packs import Pack, PackWriter, join, verify
from spkver.source import open_source
from spkver.storage import Url, access, cache
from spkver.storage.upload import put

from .conftest import Server, clear


def make(path: Path, coding: str = "pcm", rows: int = 40, samples: int = 20000, per_shard: int = 12) -> Pack:
    random = np.random.default_rng(1)
    with PackWriter(path, kind="audio", sample_rate=16000, coding=coding, rows_per_shard=per_shard) as pack:
        for row in range(rows):
            values = random.integers(-3000, 3000, samples + row).astype("<i2")
            pack.add(f"s{row % 5}/u{row:04d}", f"s{row % 5}", f"day {row}", values)
    return Pack.open(path)


def sent(server: Server, path: Path, name: str = "pack") -> Url:
    url = Url(f"s3://bucket/{name}")
    put([(path, url)], "pack.json")
    clear()
    server.asked.clear()
    return url


@pytest.mark.parametrize("coding", ["pcm", "flac"])
def test_a_pack_by_url_is_the_pack(s3: Server, tmp_path: Path, coding: str) -> None:
    local = make(tmp_path / "p", coding)
    remote = Pack.open(sent(s3, tmp_path / "p").address)
    assert not [path for path in cache.folder().rglob("*") if path.stat().st_size > 60_000]  # no shard yet
    assert (remote.ids, remote.speakers, remote.sessions) == (local.ids, local.speakers, local.sessions)
    np.testing.assert_array_equal(remote.lengths, local.lengths)
    for row in (39, 0, 13, 12, 5):
        np.testing.assert_array_equal(remote[row], local[row])
        np.testing.assert_array_equal(remote.crop(row, 7, 99), local.crop(row, 7, 99))
    some = pickle.loads(pickle.dumps(remote.subset([30, 2])))
    np.testing.assert_array_equal(some[1], local[2])
    np.testing.assert_array_equal(join([local, remote])[42], local[2])
    assert verify(remote.path) == []
    np.testing.assert_array_equal(open_source(remote.path).read(3)[0], open_source(local.path).read(3)[0])
    assert str(remote.path) == "s3://bucket/pack" and "s3://bucket/pack" in repr(remote)


def test_opening_reads_all_but_the_payloads(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spkver.packs.remote.HEAD", 2000)  # less than a record batch: the rest is read, too
    local = make(tmp_path / "p", rows=600, samples=100, per_shard=300)
    monkeypatch.setattr("spkver.packs.writer.BATCH_ROWS", 50)
    make(tmp_path / "q", rows=600, samples=5000, per_shard=300)
    for name, rows in (("p", local), ("q", Pack.open(tmp_path / "q"))):
        url = sent(s3, tmp_path / name, name)
        remote = Pack.open(url)
        assert remote.ids == rows.ids
        np.testing.assert_array_equal(remote[299], rows[299])
        clear()
        s3.asked.clear()
        Pack.open(url)  # again: from the cache
        assert {path for _, path, _ in s3.asked} == {f"/bucket/{name}/pack.json"}


def test_the_payloads_of_a_large_shard_are_not_read_at_opening(s3: Server, tmp_path: Path) -> None:
    make(tmp_path / "p", rows=20, samples=100_000, per_shard=20)
    sent(s3, tmp_path / "p")
    Pack.open("s3://bucket/pack")
    asked = [one[2].removeprefix("bytes=").split("-") for one in s3.asked if one[2]]
    assert sum(int(last) - int(first) + 1 for first, last in asked) < 150_000 < (tmp_path / "p").stat().st_size * 1000


@pytest.mark.parametrize("fault", [503, "cut", "short"])
def test_faults_while_a_pack_is_read(s3: Server, tmp_path: Path, fault: int | str) -> None:
    local = make(tmp_path / "p")
    sent(s3, tmp_path / "p")
    s3.faults = [fault, None] * 8
    remote = Pack.open("s3://bucket/pack")
    s3.faults = [fault, fault, None, fault]
    np.testing.assert_array_equal(remote[20], local[20])
    s3.faults = [503] * 50
    with pytest.raises(RunError, match=r"^s3://bucket/pack/shard-00000\.arrow: cannot be read: the server is overload"):
        remote[0]
    s3.faults = []
    np.testing.assert_array_equal(remote[0], local[0])


def changed(url: Url, content: bytes) -> None:
    access._filesystem(url.scheme).pipe_file(url.address, content)
    clear()


def test_a_damaged_truncated_or_missing_shard(s3: Server, tmp_path: Path) -> None:
    make(tmp_path / "p")
    url = sent(s3, tmp_path / "p")
    shard = url / "shard-00001.arrow"
    content = (tmp_path / "p" / shard.name).read_bytes()
    remote = Pack.open(url)
    at = len(content) // 2  # a sample
    changed(shard, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(InputError, match=r"^s3://bucket/pack/shard-00001\.arrow: damaged \(its hash differs\)"):
        remote[15]
    assert verify(url) and "shard-00001" in verify(url)[0]
    for wrong in (content[:-100], b"", content[:-10] + b"\xff" * 4 + content[-6:]):
        for path in cache.folder().glob("*/content"):
            cache.discard(path)
        changed(shard, wrong)
        with pytest.raises((InputError, RunError), match=r"^s3://bucket/pack/shard-00001\.arrow: "):
            Pack.open(url)
    access._filesystem("s3").rm_file(shard.address)
    clear()
    with pytest.raises(InputError, match=r"shard-00001\.arrow: a shard of the pack is missing"):
        Pack.open(url)
    with pytest.raises(InputError, match=r"^s3://bucket/none: not a pack \(no pack\.json\)"):
        Pack.open("s3://bucket/none")


def test_a_damaged_footer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ATTEMPTS", 1)
    make(tmp_path / "p", rows=3, samples=10)
    url = Url("memory://bucket/pack")
    put([(tmp_path / "p", url)], "pack.json")
    shard = url / "shard-00000.arrow"
    content = (tmp_path / "p" / shard.name).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        spoilt = bytearray(content)
        for at in random.integers(0, len(content), 4):
            spoilt[at] = random.integers(256)
        for path in cache.folder().glob("*/content"):
            cache.discard(path)
        changed(shard, bytes(spoilt))
        try:
            Pack.open(url)[0]
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 95  # the others changed no byte


@pytest.mark.parametrize("name", ["../p/shard-00000.arrow", "/etc/passwd", "a/shard-00000.arrow", "s3://other/x", ".."])
def test_names_in_an_index_stay_in_the_pack(s3: Server, tmp_path: Path, name: str) -> None:
    make(tmp_path / "p")
    url = sent(s3, tmp_path / "p")
    index = json.loads((tmp_path / "p" / "pack.json").read_text())
    index["shards"][0]["file"] = name
    changed(url / "pack.json", json.dumps(index).encode())
    with pytest.raises(InputError):
        Pack.open(url)[0]


def test_a_hash_in_an_index_is_not_a_path(s3: Server, tmp_path: Path) -> None:
    make(tmp_path / "p")
    url = sent(s3, tmp_path / "p")
    index = json.loads((tmp_path / "p" / "pack.json").read_text())
    index["shards"][0]["sha256"] = "../../x"
    changed(url / "pack.json", json.dumps(index).encode())
    with pytest.raises(InputError, match="is not a SHA-256"):
        Pack.open(url)[0]


def test_a_pack_larger_than_the_cache(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = make(tmp_path / "p", per_shard=4)  # ten shards of 160 kB
    sent(s3, tmp_path / "p")
    monkeypatch.setenv(cache.GIGABYTES, "5e-4")
    remote = Pack.open("s3://bucket/pack")
    for row in np.random.default_rng(2).permutation(40)[:12].tolist():
        np.testing.assert_array_equal(remote[row], local[row])
        kept = [path.stat().st_size for path in cache.folder().rglob("*") if path.is_file()]
        assert sum(kept) <= 500_000
    assert len(remote._maps._open) == 1


def _sum(address: str) -> int:
    clear()
    pack = Pack.open(address)
    return int(sum(int(pack[row].astype(int).sum()) for row in range(len(pack))))


def test_processes_share_the_cache(web: Server, tmp_path: Path) -> None:
    local = make(tmp_path / "p")
    web.files = {f"/p/{path.name}": path.read_bytes() for path in (tmp_path / "p").iterdir()}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_sum, [f"{web.address}/p"] * 2, chunksize=1)
    assert found == [sum(int(local[row].astype(int).sum()) for row in range(40))] * 2
    whole = [one for one in web.asked if one[1].endswith("arrow") and one[2] and one[2].startswith("bytes=0-")]
    assert len(whole) == len(local.shards)


def test_shards_are_fetched_ahead(s3: Server, tmp_path: Path) -> None:
    local = make(tmp_path / "p")
    sent(s3, tmp_path / "p")
    remote = Pack.open("s3://bucket/pack")
    remote.fetch_ahead([1, 2])
    assert remote._maps._fetcher is not None
    remote._maps._fetcher.join(20)
    s3.asked.clear()
    np.testing.assert_array_equal(remote[30], local[30])
    assert not s3.asked
    local.fetch_ahead([0])  # a pack on disk has nothing to fetch
