"""All stages of voxceleb, cnceleb and librispeech, on miniature corpora in the published layouts."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from spkver.trials import read_scores, read_trials


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def pairs(names: list[str], speakers: list[str]) -> list[tuple[str, str, bool]]:
    return [(a, b, s == t) for (a, s), (b, t) in itertools.combinations(zip(names, speakers), 2)]


@pytest.fixture
def voxceleb(record, tmp_path):
    """VoxCeleb1 with the lists O and E (here with the same trials), and VoxCeleb2."""

    def clips(*speakers):
        return [f"{speaker}/{video}/0000{n}.wav" for speaker in speakers for video in ("aaaa", "bbbb") for n in (1, 2)]

    first, second = tmp_path / "voxceleb1", tmp_path / "voxceleb2"
    train, test = clips("id10001", "id10002"), clips("id10270", "id10271", "id10272")
    record(first, *(f"dev/wav/{name}" for name in train), *(f"test/wav/{name}" for name in test))
    dev = clips("id00012", "id00018", "id00022", "id00024")
    record(second, *(f"dev/aac/{name}" for name in dev), *(f"test/aac/{name}" for name in clips("id00017", "id00061")))
    trials = [f"{target:d} {a} {b}" for a, b, target in pairs(test, [name.split("/")[0] for name in test])]
    write(first / "veri_test2.txt", *trials)
    write(first / "list_test_all2.txt", *trials)
    return ["--voxceleb1", first, "--voxceleb2", second, "--lists", "O E", "--dev-nontargets", 10]


@pytest.fixture
def cnceleb(record, tmp_path):
    root = tmp_path / "root"
    first = root / "CN-Celeb_flac"
    trained = [f"id0000{number}" for number in range(4)]
    record(first, *(f"data/{s}/{genre}-0{n}-001.flac" for s in trained for genre in ("speech", "vlog") for n in (1, 2)))
    record(root, *(f"CN-Celeb2_flac/data/id1000{s}/drama-0{n}-001.flac" for s in range(2) for n in range(3)))
    models = ["id00800", "id00801", "id00802"]
    for speaker in models:
        record(
            first, f"eval/enroll/{speaker}-enroll.flac", *(f"data/{speaker}/interview-01-00{n}.flac" for n in (1, 2))
        )
        record(first, *(f"eval/test/{speaker}-singing-0{n}-001.flac" for n in (1, 2)))
    lists = first / "eval" / "lists"
    write(first / "dev" / "dev.lst", *trained)
    write(lists / "enroll.lst", *(f"{s}-enroll enroll/{s}-enroll.wav" for s in models))
    write(lists / "enroll.map", *(f"{s}-enroll {s}/interview-01-001.wav {s}/interview-01-002.wav" for s in models))
    tests = [(s, f"test/{s}-singing-0{n}-001.wav") for s in models for n in (1, 2)]
    write(lists / "trials.lst", *(f"{m}-enroll {test} {s == m:d}" for m in models for s, test in tests))
    return ["--cnceleb", root, "--dev-speakers", 2, "--dev-nontargets", 10]


@pytest.fixture
def librispeech(record, tmp_path):
    root = tmp_path / "root"
    speakers = {"train-clean-100": (19, 26, 27, 32), "dev-clean": (84, 174, 251), "test-clean": (61, 121, 237)}
    for part, own in speakers.items():
        for speaker, chapter, number in itertools.product(own, (100, 200), range(2)):
            record(root, f"LibriSpeech/{part}/{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac")
    genders = [f"{s} | {'FM'[n % 2]} | {part} | 8 | X" for part, own in speakers.items() for n, s in enumerate(own)]
    write(root / "LibriSpeech" / "SPEAKERS.TXT", *genders)
    return ["--librispeech", root, "--train-parts", "train-clean-100", "--test-parts", "test-clean"]


@pytest.fixture
def noises(record, tmp_path):
    """MUSAN and RIRS_NOISES."""
    root = tmp_path / "noises"
    kinds = {"music": "fma", "noise": "free-sound", "speech": "librivox"}
    record(
        root, *(f"musan/{kind}/{source}/{kind}-{source}-000{n}.wav" for kind, source in kinds.items() for n in (0, 1))
    )
    record(root, *(f"RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-0000{n}.wav" for n in (1, 2)))
    return ["--musan", root, "--rirs", root]


def check(done, exp: Path, name: str, lists: dict[str, Path]) -> None:
    """Check that every stage ran and that both networks have a score for every trial."""
    assert re.findall(r"=== stage (\d)", done.stdout) == list("123456789")
    for each in lists:
        assert "<svg" in (exp / "report" / name / f"{each}.html").read_text()
    for system in (name, f"{name}-lm"):
        assert (exp / system / "report.html").is_file()
        for each, path in lists.items():
            assert f"{each}, {system}, calibrated" in done.stdout and f"{system}, asnorm" in done.stdout
            listed = read_trials(path)
            for kind in ("cosine", "asnorm", "llr"):
                assert len(read_scores(exp / system / f"{each}.{kind}")) == len(listed)


def test_voxceleb_runs_all_stages_with_noises_and_rooms(recipe, voxceleb, noises, tmp_path):
    done = recipe("voxceleb", *voxceleb, *noises)
    lists = {name: tmp_path / "data" / "voxceleb1" / "trials" / f"{name}.txt" for name in ("O", "E")}
    check(done, tmp_path / "exp", "xvector-bd_lmcl", lists)
    assert "E, xvector-bd_lmcl-lm, by speaker" in done.stdout and "by seconds" in done.stdout
    first, second = (tmp_path / "exp" / f"xvector-bd_lmcl{stage}" / "config.yaml" for stage in ("", "-lm"))
    for config in (first, second):
        assert "packs/musan/noise" in config.read_text() and "packs/rirs/simulated" in config.read_text()
    assert "crop_seconds: 6.0" in second.read_text() and "m: 0.35" in second.read_text()


def test_cnceleb_runs_all_stages_and_both_kinds_of_enrolment(recipe, cnceleb, tmp_path):
    # fewer than 16 channels crash in the backward pass of torch 2.13 (1 × 1 convolution, stride 2, channels last)
    tiny = "model.channels=16 model.dim=8 train.batch_size=4 train.log_every=1 train.precision=fp32"
    done = recipe("cnceleb", *cnceleb, "--network", "resnet34", "--loss", "aam", "--overrides", tiny)
    check(done, tmp_path / "exp", "resnet34-aam", {"eval": tmp_path / "data" / "cnceleb" / "trials" / "trials.lst"})
    assert "eval, resnet34-aam-lm, by genre" in done.stdout and "singing / ?" in done.stdout
    assert "m: 0.5" in (tmp_path / "exp" / "resnet34-aam-lm" / "config.yaml").read_text()
    recipe("cnceleb", "--enrolment", "map", "--loss", "aam", "--network", "resnet34", "--stage", 7, "--stop-stage", 7)


def test_librispeech_runs_all_stages_from_features_and_skips_complete_ones(recipe, librispeech, tmp_path):
    options = [*librispeech, "--source", "feats"]
    done = recipe("librispeech", *options)
    lists = {"test-clean": tmp_path / "data" / "librispeech" / "test-clean" / "trials.txt"}
    check(done, tmp_path / "exp", "xvector-bd_lmcl", lists)
    assert "test-clean, xvector-bd_lmcl-lm, by gender" in done.stdout and "12 classes" in done.stdout
    again = recipe("librispeech", *options, "--stage", 2, "--stop-stage", 5)
    assert again.stdout.count("already complete") == 2


@pytest.mark.parametrize("name", ["voxceleb", "cnceleb", "librispeech"])
def test_help_names_every_option(recipe, name):
    shown = recipe(name, "--help").stdout
    recipes = Path(__file__).parents[2] / "recipes"
    head = [(recipes / file).read_text().partition("\nsource ")[0] for file in (f"{name}/run.sh", "corpora.sh")]
    options = re.findall(r"^([a-z_0-9]+)=", "\n".join(head), re.MULTILINE)
    assert len(options) > 10
    assert [one for one in options if f"--{one.replace('_', '-')}" not in shown and one != "more_help"] == []


@pytest.mark.parametrize("name", ["voxceleb", "cnceleb", "librispeech"])
def test_mistake_is_reported_in_one_line(recipe, tmp_path, name):
    def error(*options):
        return recipe(name, *options, code=2).stderr

    assert "run.sh: error: --" in error() and "ROOT is needed" in error()
    root = "voxceleb1" if name == "voxceleb" else name
    assert f"run.sh: error: --{root}: no folder {tmp_path}/nowhere" in error(f"--{root}", tmp_path / "nowhere")
    assert "unknown option --corpse" in error("--corpse", "x")
    assert "run stage 4 first" in error("--stage", 5, "--stop-stage", 5)
    assert "run stage 4 first" in error("--stage", 6)
    assert "packs/train" in error("--stage", 4)
