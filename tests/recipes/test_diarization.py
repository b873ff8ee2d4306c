"""The recipe of diarization on miniature corpora. Conversations and turns are written by the test."""

from __future__ import annotations

import pytest

from spkver.rttm import Region, Turn, write_turns, write_uem

SETS = [f"{length}s-{overlap}" for length in (60, 600) for overlap in ("ov00", "ov10", "ov20")]


@pytest.fixture
def corpora(record, tmp_path):
    """speechocean762 with enough test speakers for the split, and one recording of the parliament."""
    root = tmp_path / "so"
    described = ["speaker\tgender\tage\tsplit"]
    for number in range(66):
        split = "test" if number else "train"
        record(root, f"{split}/{number:04d}/a.wav", seconds=0.1)
        described.append(f"{number:04d}\tf\t30\t{split}")
    (root / "speakers.tsv").write_text("\n".join(described) + "\n")
    record(tmp_path / "speech", "evaluation_only/dail_eireann_parliament/td01/a.wav", seconds=0.1)
    return ["--speech", tmp_path / "speech", "--speechocean", root]


def test_speakers_are_disjoint_and_turns_are_scored(recipe, corpora, tmp_path):
    for split in ("tune", "test"):
        data = tmp_path / "data" / split
        names = [f"{one.replace('-', '-2spk-')}-01" for one in SETS]
        reference = [Turn(name, 0, 4, "x") for name in names]
        write_turns(data / "ref.rttm", reference)
        write_turns(tmp_path / "exp" / f"{split}.rttm", [turn._replace(start=1, speaker="1") for turn in reference])
        write_uem(data / "all.uem", [Region(name, 0, 5) for name in names])
        for one, name in zip(SETS, names):
            write_uem(data / f"{one}.uem", [Region(name, 0, 5)])
        (data / "wav.scp").write_text("".join(f"{name} {tmp_path}/so/train/0000/a.wav\n" for name in names))
        (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    done = recipe("diarization", *corpora, small=["--jobs", "1"])
    speakers = {
        split: {
            line.split()[1] for line in (tmp_path / "data" / f"{split}_speakers" / "utt2spk").read_text().splitlines()
        }
        for split in ("tune", "test")
    }
    assert len(speakers["test"]) == 63 and len(speakers["tune"]) == 2 and not speakers["tune"] & speakers["test"]
    assert done.stdout.count("at most 60 s, 10 % overlap") == 2 and done.stdout.count("25.00") >= 24
    assert (tmp_path / "exp" / "test.html").exists() and (tmp_path / "exp" / "tune-600s-ov20.json").exists()


def test_help_and_missing_corpora(recipe):
    assert "--diarize" in recipe("diarization", "--help", small=[]).stdout
    assert "--speech and --speechocean are needed" in recipe("diarization", small=["--stop-stage", "1"], code=2).stderr
