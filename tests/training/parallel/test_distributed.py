"""A run on one, two and three processes (gloo, on a CPU) gives the same result, and all processes end together."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.features import FrontEndConfig
from spkver.packs import Pack, PackWriter
from spkver.training.monitoring.log import TIMING
from spkver.training.state import checkpoint

BATCH, BROKEN = 12, "s3/1"
FRONT_END = {"sample_rate": 8000, "bins": 24, "high_hz": 3600.0}
SPLIT = {"name": "normalised", "split": True, "s": 20}
# without babble from the batch, because a process has only a part of the batch
AUGMENT = {
    "waveform": [{"name": "noise", "shares": {"babble": 0}}, "reverb"],
    "features": ["spec_augment"],
}
DINO = {"name": "dino", "projection": {"hidden": 8, "bottleneck": 4, "prototypes": 16}}
PAIRS = {
    "speakers": "recordings",
    "utterances_per_speaker": 2,
    "local": {"crops": 3, "seconds": 0.2},
    "positives": {"neighbours": 1, "start": 0, "every": 2},
}
RUNS = {
    "plain": {"loss": "lmcl"},
    "split": {"loss": {"name": "bd_lmcl", "m": 0.1, "head": SPLIT}},
    "hardest": {"loss": {"name": "aam", "selector": {"name": "hardest", "share": 0.3}}},
    "running_means": {"loss": {"name": "curricularface", "m": 0.2, "margin": "adaface"}},
    "norms": {"loss": {"name": "magface", "margin": {"l_a": 0.1, "u_a": 20}, "head": SPLIT}},
    "skips": {"data": {"train": "broken"}},
    "distil": {"distil": True},
    "pairs": {"loss": "ge2e", "data": {"utterances_per_speaker": 3}},
    "dino": {"loss": DINO, "data": PAIRS, "ema": {"decay": 0.5}, "augment": AUGMENT},
    "sub_centres": {
        "loss": {"name": "lmcl", "head": {**SPLIT, "centres": 2, "reduction": "chunked"}},
        "augment": {"speeds": [0.9, 1.0, 1.1], **AUGMENT},
    },
}
ON = {1: list(RUNS), 2: ["plain", "split", "distil"], 3: list(RUNS)}  # the runs for each number of processes


@pytest.fixture(scope="module")
def write(tmp_path_factory, packs):
    """Write a recipe; return its path and the experiment directory."""
    folder, number = tmp_path_factory.mktemp("runs"), itertools.count()

    teacher = {"model": {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 5}, "front_end": FRONT_END}
    torch.manual_seed(1)  # of some teachers, rounding decides on which side of 0 a unit is, which changes gradients
    Encoder(validate(EncoderConfig, teacher)).save(folder / "teacher")

    def write(*, loss="lmcl", data=None, augment=None, distil=False, **train):
        data = {"train": "train", "dev": "dev", **(data or {})}
        data |= {name: str(packs / data[name]) for name in ("train", "dev")}
        tree = {
            "data": {**data, "crop_seconds": 0.4},
            "front_end": FRONT_END,
            "model": {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 8},
            "loss": loss,
            "augment": augment or {},
            "distil": {"model": str(folder / "teacher")} if distil else None,
            "train": {
                "steps": 6,
                "batch_size": BATCH,
                "log_every": 3,
                "dev_every": 3,
                "checkpoint_every": 3,
                "keep_checkpoints": 3,
                "device": "cpu",
                "precision": "fp32",
                "optimizer": {"name": "sgd", "lr": 0.005},
                "lr_schedule": "constant",
                "timeout_minutes": 1,
                **train,
            },
        }
        path = folder / f"{next(number)}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path), folder / path.stem

    return write


@pytest.fixture(scope="module")
def broken(packs):
    """The features of the training set, with NaN in one utterance."""
    source = Pack.open(packs / "features")
    path, front_end = packs / "broken", FrontEndConfig(**FRONT_END).model_dump(mode="json")
    with PackWriter(path, kind="features", sample_rate=8000, front_end=front_end) as pack:
        for row, name in enumerate(source.ids):
            features = source[row].copy()
            features[:, 3] = np.nan if name == BROKEN else features[:, 3]
            pack.add(name, source.speakers[row], "", features)


@pytest.fixture(scope="module")
def found(write, broken, run_jobs):
    """The experiment directories of all runs and numbers of processes, and of the runs that stop or are resumed."""
    outs, jobs = {}, []
    recipes = {name: write(**keys) for name, keys in RUNS.items()}
    local = {"batch_norm": "local", "augment": AUGMENT}
    recipes |= {"local": write(**local), "parts": write(**local, accumulate=2), "odd": write(batch_size=11)}
    more = {1: ["parts"], 2: ["local", "odd"], 3: []}  # `odd` is rejected by all processes before anything is written
    for size in ON:
        runs = []
        for name in ON[size] + more[size]:
            path, out = recipes[name]
            outs[name, size] = out.with_name(f"{name}-{size}")
            runs.append([path, "--out", str(outs[name, size])])
        if size == 3:  # resumes the run of two processes, without its last checkpoint and later files
            runs.append([recipes["split"][0], "--out", str(outs["split", 2]), "--resume"])
        jobs.append({"processes": size, "runs": runs})
    told = run_jobs(jobs[:2])
    half_way(outs["split", 2])
    told += run_jobs(jobs[2:])
    return outs, told


def half_way(out):
    """Restore the state after the first checkpoint."""
    for path in (out / "model", out / "checkpoints" / "step-00000006"):
        path.rename(path.with_name(f"was-{path.name}"))
    (out / "complete").unlink()


def network(out):
    return safetensors.torch.load_file(out / "model" / "model.safetensors")


def records(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in one.items() if key not in TIMING} for one in lines]


@pytest.mark.parametrize(("size", "name"), [(size, name) for size in (2, 3) for name in ON[size]])
def test_result_does_not_depend_on_the_number_of_processes(found, name, size):
    outs, told = found
    assert [codes[: len(ON[size])] for codes in told[size - 1]["codes"]] == [[0] * len(ON[size])] * size
    alone, together = (checkpoint.read(outs[name, n] / "checkpoints" / "step-00000003") for n in (1, size))
    shared = [key for key in alone.tensors if not key.startswith("random.") and not key.endswith("shard")]
    assert set(shared) == {k for k in together.tensors if not k.startswith("random.") and not k.endswith("shard")}
    momentum = max(float(one.abs().max()) for key, one in alone.tensors.items() if key.endswith("momentum_buffer"))
    for key in shared:
        # gradients of biases before a batch norm are only rounding errors
        atol = 1e-5 if key.startswith("state.") else 1e-4 * momentum
        torch.testing.assert_close(together.tensors[key], alone.tensors[key], rtol=1e-5, atol=atol, msg=key)
    for key, value in network(outs[name, 1]).items():
        torch.testing.assert_close(network(outs[name, size])[key], value, rtol=1e-4, atol=1e-4, msg=key)
    assert len(records(outs[name, 1])) == len(records(outs[name, size])) == 4
    for one, other in zip(records(outs[name, 1]), records(outs[name, size])):
        assert one.keys() == other.keys()
        for key, value in other.items():  # among few dev trials, two with nearly equal scores may be swapped
            assert one[key] == pytest.approx(value, rel=1e-3, abs=0.05 if key.startswith("dev_") else 1e-6), key


def test_two_processes_equal_one_with_two_accumulated_parts(found):
    """With local batch norms and augmentation."""
    outs, _ = found
    parts, together = (outs[key] / "checkpoints" / "step-00000003" for key in (("parts", 1), ("local", 2)))
    one, other = (checkpoint.read(path).tensors for path in (parts, together))
    for key, value in one.items():
        if key.startswith("state.") and "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5, msg=key)


def test_files_of_a_distributed_run(found):
    outs, _ = found
    manifest = json.loads((outs["split", 3] / "checkpoints" / "step-00000006" / "manifest.json").read_text())
    assert list(manifest["files"]) == [f"rank-{rank}.safetensors" for rank in range(3)]
    assert list(manifest["classes"].values()) == [[0, 4, 12], [4, 8, 12], [8, 12, 12]]
    (start,) = (json.loads(line) for line in (outs["plain", 3] / "starts.jsonl").read_text().splitlines())
    assert start["processes"] == len(start["devices"]) == 3
    assert set(start["packs"]) == {"data.train", "data.dev"} and start["versions"]["torch"] == torch.__version__
    assert "12 classes" in (outs["plain", 3] / "train.log").read_text()


@pytest.mark.parametrize("size", [1, 3])
def test_non_finite_step_of_one_process_is_skipped_by_all(found, size):
    """Six steps with a third of the utterances are two epochs, each with one broken utterance."""
    outs, _ = found
    said = [line for line in (outs["skips", size] / "train.log").read_text().splitlines() if "is skipped" in line]
    assert len(said) == 2 and "(2 of at most 10)" in said[1]
    for line in said:
        ids = line.split("its batch: ")[1].split()
        assert BROKEN in ids and len(ids) == BATCH  # the utterances of all processes


def test_run_resumes_with_another_number_of_processes(found):
    """Started with two processes and resumed with three. The result is compared in another test."""
    outs, told = found
    assert [codes[-1] for codes in told[2]["codes"]] == [0, 0, 0]
    starts = [json.loads(line)["processes"] for line in (outs["split", 2] / "starts.jsonl").read_text().splitlines()]
    assert starts == [2, 3]
    assert "resuming after step 3 of 6" in (outs["split", 2] / "train.log").read_text()


def test_error_of_one_process_ends_all(found):
    outs, told = found
    assert [codes[-1] for codes in told[1]["codes"]] == [2, 2]
    first, second = told[1]["said"]
    assert first.count("\n") == 1 and "train.batch_size 11 cannot be divided evenly over 2 processes" in first
    assert second == ""
    assert not outs["odd", 2].exists()
