"""Several packs joined as one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.features import FrontEndConfig
from spkver.packs import JoinedPacks, Pack, join, make_features, pack_audio
from spkver.packs.joined import with_speakers


def test_joined_packs_concatenate_rows(tmp_path: Path, corpus: Callable[..., DataDir]) -> None:
    pack_audio(corpus(5), tmp_path / "a", rows_per_shard=2)
    pack_audio(corpus(3), tmp_path / "b")
    a, b = Pack.open(tmp_path / "a"), Pack.open(tmp_path / "b")
    both = join([a, b])
    assert isinstance(both, JoinedPacks) and len(both) == 8 and both.kind == "audio" and both.path == a.path
    assert both.ids == a.ids + b.ids and both.speakers == a.speakers + b.speakers
    assert both.sessions == a.sessions + b.sessions
    assert both.seconds.sum() == pytest.approx(a.seconds.sum() + b.seconds.sum())
    np.testing.assert_array_equal(both.lengths, np.concatenate([a.lengths, b.lengths]))
    np.testing.assert_array_equal(both.crop(6, 10, 50), b.crop(1, 10, 50))
    for some in (both.subset([7, 0]), both.subset(np.isin(np.arange(8), [0, 7])).subset([1, 0])):
        assert some.ids == [b.ids[2], a.ids[0]] and len(some) == 2
        np.testing.assert_array_equal(some[0], b[2])
        assert some.lengths.tolist() == [b.lengths[2], a.lengths[0]]
    assert [both.rows_of_shard(number).tolist() for number in range(len(both.shards))] == [
        [0, 1],
        [2, 3],
        [4],
        [5, 6, 7],
    ]
    some = both.subset([7, 3, 0])
    assert [some.rows_of_shard(number).tolist() for number in range(4)] == [[2], [1], [], [0]]
    assert join([a]) is a


def test_join_rejects_packs_of_different_kinds(tmp_path: Path, corpus: Callable[..., DataDir]) -> None:
    pack_audio(corpus(2), tmp_path / "a")
    make_features(tmp_path / "a", tmp_path / "f", FrontEndConfig())
    packs = [Pack.open(tmp_path / name) for name in "af"]
    with pytest.raises(InputError, match=r"f: a pack of kind features, but .*a is of kind audio"):
        join(packs)
    twice = join([packs[0], packs[0]])
    twice.require(FrontEndConfig())
    with pytest.raises(InputError, match="16000 Hz, the front end takes 8000"):
        twice.require(FrontEndConfig(sample_rate=8000, high_hz=3600))


def test_other_speakers(tmp_path: Path, corpus: Callable[..., DataDir]) -> None:
    """Utterances without one are left out; the rest keeps its payload, also in a subset."""
    pack_audio(corpus(4), tmp_path / "a")
    pack = Pack.open(tmp_path / "a")
    named = with_speakers(pack, ["x", None, "y", "x"])
    assert named.speakers == ["x", "y", "x"] and named.ids == [pack.ids[row] for row in (0, 2, 3)]
    assert named.subset([2, 1]).speakers == ["x", "y"]
    np.testing.assert_array_equal(named[1], pack[2])
    again = with_speakers(join([pack, pack]), pack.ids * 2)
    assert again.speakers == pack.ids * 2 and len(again) == 8
