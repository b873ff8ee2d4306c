"""Work in parts on this machine: resuming, shares, other settings, streams."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from spkver import files
from spkver.datadir import from_columns, read_datadir, write_datadir
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.extraction import extract
from spkver.features import FrontEndConfig
from spkver.packs import make_features, pack_audio
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import score_all, score_list
from spkver.work import Local, Share, gather
from spkver.work import parts as module


@pytest.fixture
def data(tmp_path, voice):
    """A data directory of 12 recordings, of which one is empty."""
    import soundfile

    paths = [tmp_path / f"{number:02}.wav" for number in range(12)]
    for number, path in enumerate(paths):
        soundfile.write(path, voice(100 + 7 * number, 0.5), 16000)
    paths[5].write_bytes(b"")
    write_datadir(tmp_path / "data", from_columns([path.name for path in paths], [*map(str, paths)], ["s"] * 12))
    return tmp_path / "data"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("spkver.extraction.rows_per_part", lambda rows: 4)


def content(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())} if path.is_dir() else path.read_bytes()


class Watched(Local):
    """This machine, which tells when its workers were ended."""

    ended = False

    def map(self, function, items, *, gpu=False):
        try:
            yield from super().map(function, items)
        finally:
            self.ended = True


class Dies(Local):
    """This machine, which fails after some parts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def map(self, function, items, *, gpu=False):
        yield from super().map(function, itertools.islice(items, self.after))
        raise KeyboardInterrupt


def counted(monkeypatch):
    from spkver import audio

    read, seen = audio.read, []
    monkeypatch.setattr(audio, "read", lambda path, *more, **options: seen.append(path) or read(path, *more, **options))
    return seen


def test_interrupted_extraction_repeats_only_rejected_recordings(tmp_path, data, tiny_model, small_parts, monkeypatch):
    encoder = Encoder.open(tiny_model)
    done = extract(encoder, data, tmp_path / "whole")
    assert (done.embeddings, [name for name, _ in done.rejected]) == (11, ["05.wav"])
    with pytest.raises(KeyboardInterrupt):
        extract(encoder, data, tmp_path / "out", on=Dies(2))
    seen = counted(monkeypatch)
    again = extract(encoder, data, tmp_path / "out")
    names = [Path(path).name for path in seen]
    assert sorted(names) == ["05.wav", *(f"{number:02}.wav" for number in range(8, 12))]
    assert again == done and content(tmp_path / "out") == content(tmp_path / "whole")
    assert content(tmp_path / "out.rejected.jsonl") == content(tmp_path / "whole.rejected.jsonl")
    assert not list(tmp_path.glob("*.partial"))


def test_workers_are_ended_when_too_many_rows_are_rejected(tmp_path, data, tiny_model, small_parts):
    on = Watched()
    with pytest.raises(RunError, match="rejected") as caught:
        extract(Encoder.open(tiny_model), data, tmp_path / "out", max_rejected=0.05, on=on)
    assert on.ended and caught.tb  # while the traceback, which holds the generator, exists


def test_interrupted_pack_repeats_only_rejected_recordings(tmp_path, data, monkeypatch):
    directory = read_datadir(data)
    with pytest.raises(KeyboardInterrupt):
        pack_audio(directory, tmp_path / "p", rows_per_shard=4, on=Dies(2))
    seen = counted(monkeypatch)
    assert pack_audio(directory, tmp_path / "p", rows_per_shard=4).kept == 2
    assert sorted(Path(path).name for path in seen) == ["05.wav", *(f"{number:02}.wav" for number in range(8, 12))]
    pack_audio(directory, tmp_path / "whole", rows_per_shard=4)
    assert content(tmp_path / "p") == content(tmp_path / "whole")


def test_leftovers_are_searched_once_and_never_become_part_of_a_pack(tmp_path, data, monkeypatch):
    searched = []
    found = files._leftovers
    monkeypatch.setattr(files, "_leftovers", lambda target: searched.append(target.name) or found(target))

    class Leaves(Local):
        """This machine, with a worker that was killed while it wrote."""

        def map(self, function, items, *, gpu=False):
            yield from super().map(function, items)
            (tmp_path / "p.partial" / ".shard-00001.arrow.abcd1234.part").mkdir()

    pack_audio(read_datadir(data), tmp_path / "p", rows_per_shard=1, on=Leaves())
    assert not [name for name in searched if name.startswith("shard-")]  # a million parts would be slow
    shards = [f"shard-{number:05}.arrow" for number in range(12)]
    assert sorted(content(tmp_path / "p")) == ["pack.json", "rejected.jsonl", *shards]


def test_repaired_recording_is_picked_up(tmp_path, data, tiny_model, small_parts):
    encoder = Encoder.open(tiny_model)
    with pytest.raises(RunError, match=r"1 of 12 utterances rejected.*05\.wav: .*see .*out\.rejected\.jsonl"):
        extract(encoder, data, tmp_path / "out", max_rejected=0.05)
    (tmp_path / "05.wav").write_bytes((tmp_path / "04.wav").read_bytes())
    done = extract(encoder, data, tmp_path / "out", max_rejected=0.05)
    assert (done.embeddings, done.rejected) == (12, []) and not (tmp_path / "out.rejected.jsonl").exists()


@pytest.mark.parametrize("kind", ["pack", "embeddings"])
def test_rejected_rows_of_all_shares_are_counted(tmp_path, data, tiny_model, small_parts, kind):
    """Each share has few, all together too many."""
    for number in (0, 4, 8):
        (tmp_path / f"{number:02}.wav").write_bytes(b"")

    def make(share, most):
        if kind == "pack":
            pack_audio(read_datadir(data), tmp_path / "out", rows_per_shard=4, max_rejected=most, share=share)
        else:
            extract(Encoder.open(tiny_model), data, tmp_path / "out", max_rejected=most, share=share)

    for number in (1, 2, 3):
        make(Share(number, 3), 0.2)
    rejects = "out.rejected.jsonl" if kind == "embeddings" else "out.partial/rejected.jsonl"
    with pytest.raises(RunError, match=rf"4 of 12 .* rejected, more than the allowed share 0.2.*; see .*{rejects}"):
        gather(tmp_path / "out")
    assert len((tmp_path / rejects).read_text().splitlines()) == 4 and not (tmp_path / "out").exists()
    make(Share(1, 3), 0.5)
    gather(tmp_path / "out")
    assert (tmp_path / "out").exists()


def test_other_settings_discard_the_parts(tmp_path, data, tiny_model, small_parts, monkeypatch):
    encoder = Encoder.open(tiny_model)
    with pytest.raises(KeyboardInterrupt):
        extract(encoder, data, tmp_path / "out", on=Dies(2))
    with pytest.raises(InputError, match="parts of other input or settings"):
        extract(encoder, data, tmp_path / "out", seconds=0.3, share=Share(1, 2))
    seen = counted(monkeypatch)
    extract(encoder, data, tmp_path / "out", seconds=0.3)
    assert len(seen) == 12


@pytest.mark.parametrize("jobs", [1, 3])
def test_number_of_threads_does_not_change_embeddings(tmp_path, data, tiny_model, small_parts, jobs):
    import torch

    encoder = Encoder.open(tiny_model)
    before = torch.get_num_threads()
    extract(encoder, data, tmp_path / "one", jobs=1)
    torch.set_num_threads(before + jobs)
    extract(encoder, data, tmp_path / "more", jobs=jobs)
    assert torch.get_num_threads() == before + jobs
    torch.set_num_threads(before)
    assert content(tmp_path / "one") == content(tmp_path / "more")


def test_shares_of_packs_features_and_embeddings(tmp_path, data, tiny_model, small_parts):
    encoder, directory = Encoder.open(tiny_model), read_datadir(data)

    def make(folder, share=None):
        pack_audio(directory, folder / "p", rows_per_shard=4, share=share)
        if share is None or (folder / "p").exists():
            make_features(folder / "p", folder / "f", FrontEndConfig(bins=20), share=share)
        extract(encoder, data, folder / "e", share=share)

    make(tmp_path / "whole")
    for number in (2, 1):
        make(tmp_path / "shares", Share(number, 2))
    gather(tmp_path / "shares" / "p")
    for number in (1, 2):
        make_features(tmp_path / "shares/p", tmp_path / "shares/f", FrontEndConfig(bins=20), share=Share(number, 2))
    for name in ("f", "e"):
        gather(tmp_path / "shares" / name)
    for name in ("p", "f", "e", "e.rejected.jsonl"):
        assert content(tmp_path / "shares" / name) == content(tmp_path / "whole" / name)
    assert not list((tmp_path / "shares").glob("*.partial"))


@pytest.mark.parametrize("out", ["out.txt", "out.csv", "out.parquet", "out.npz"])
def test_scores_in_parts_are_those_in_one_part(scored, out, monkeypatch):
    folder, trials = scored
    sides = BackEnd().open(folder / "emb.parquet")
    whole = folder / f"whole.{out}"
    score_all(sides, whole)
    monkeypatch.setattr("spkver.scoring.files._CELLS", 700)
    monkeypatch.setattr("spkver.scoring.sides._PRODUCT", 700)
    score_all(sides, folder / out, on=Local(1, 2))
    assert same(folder / out, whole)
    if out.endswith("npz"):
        return
    number = score_list(trials, sides, whole)
    monkeypatch.setattr("spkver.trials.files.SPAN", 300)
    assert score_list(trials, sides, folder / out, on=Local(1, 2)) == number == 870
    assert same(folder / out, whole)


def same(one, other):
    import numpy as np

    from spkver.trials import read_scores

    if one.suffix == ".npz":
        with np.load(one) as a, np.load(other) as b:
            assert all(
                np.allclose(a[name], b[name], atol=1e-6) if name == "scores" else (a[name] == b[name]).all()
                for name in b
            )
        return True
    a, b = read_scores(one), read_scores(other)
    assert a.trials.enrol.to_pylist() == b.trials.enrol.to_pylist()
    assert a.trials.test.to_pylist() == b.trials.test.to_pylist()
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)
    return True


@pytest.fixture(params=["t.txt", "t.csv", "t.parquet"])
def scored(tmp_path, request):
    import numpy as np
    import pyarrow.parquet as pq

    from spkver.embeddings import Embeddings, write_embeddings
    from spkver.trials import make_trials, write_trials

    ids = [f"u{row:03}" for row in range(60)]
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    write_embeddings(tmp_path / "emb.parquet", Embeddings(ids, vectors))
    trials = make_trials(ids, [name[:3] for name in ids], nontargets=600, seed=0)
    path = tmp_path / request.param
    write_trials(path, trials)
    if request.param.endswith("parquet"):  # several row groups
        pq.write_table(pq.read_table(path), path, row_group_size=50)
    return tmp_path, path


def test_line_numbers_of_errors_are_those_of_the_file(tmp_path, monkeypatch, scored):
    folder, trials = scored
    if trials.suffix == ".parquet":
        pytest.skip("text")
    monkeypatch.setattr("spkver.trials.files.SPAN", 300)
    lines = trials.read_text().splitlines()
    lines[400] = "broken"
    trials.write_text("\n".join(lines) + "\n\n\n")
    with pytest.raises(InputError, match=r":401: expected|CSV|Expected"):
        score_list(trials, BackEnd().open(folder / "emb.parquet"), folder / "out")
    assert not (folder / "out").exists()


def test_parts_are_named_in_order_of_their_numbers(tmp_path):
    (tmp_path / "records").mkdir()
    record = {"stamp": "", "bytes": 0, "sha256": "", "rows": 0, "facts": {}, "rejected": []}
    for number in (99999, 100000, 5):
        name = f"part-{number:05d}"
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps(record | {"file": name}))
    assert [one.file for one in module.records(tmp_path)] == ["part-00005", "part-99999", "part-100000"]
