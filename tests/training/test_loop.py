"""Training runs: what they learn and write, and that resumed runs are identical to undisturbed ones."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from spkver import load_model
from spkver.errors import InputError, RunError
from spkver.files import sha256
from spkver.losses import PRESETS
from spkver.packs import PackWriter
from spkver.recipe import build, train
from spkver.training.monitoring.log import TIMING
from spkver.training.monitoring.pace import duration
from spkver.training.optim import OPTIMIZERS
from spkver.training.parallel.distributed import World
from spkver.training.state import checkpoint
from spkver.training.step.learner import Learner, computes_in_bf16

SEMI_HARD = {"name": "triplet", "mining": "semi_hard"}
QUIET = {"say": lambda text: None}


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def untimed(out: Path) -> list[dict]:
    return [{key: value for key, value in one.items() if key not in TIMING} for one in metrics(out)]


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def test_run_learns(recipe, out):
    schedule = {"name": "constant"}
    train(
        recipe(
            loss={"name": "bd_lmcl", "m": 0.1},
            augment={"speeds": [0.9, 1.0], "waveform": ["noise"], "features": [{"name": "spec_augment"}]},
            train={"steps": 90, "log_every": 10, "dev_every": 30, "batch_size": 16, "lr_schedule": schedule},
        ),
        out,
        **QUIET,
    )
    records = metrics(out)
    losses = [one["loss"] for one in records if "loss" in one]
    assert losses[-1] < 0.6 * losses[0]
    assert min(one["dev_eer"] for one in records if "dev_eer" in one) < 0.2
    encoder = load_model(out / "model")
    assert encoder.model_id and np.isfinite(encoder.embed(0.1 * np.random.default_rng(0).normal(size=8000))).all()


@pytest.mark.parametrize(
    ("train", "world"),
    [
        ({"batch_size": 1}, World()),
        ({"batch_size": 4, "accumulate": 4}, World()),
        ({"batch_size": 2, "batch_norm": "local"}, World(1, 2, 1, 2)),
    ],
)
def test_batch_of_one_is_rejected_for_batch_norms_after_pooling(recipe, out, train, world):
    """A batch norm after pooling would get a single value per channel; rejected before the first step."""
    with pytest.raises(
        InputError, match=r"is one utterance at a time, which is too few for the batch norm network\.segment\.1;"
    ):
        build(recipe(train=train), out, QUIET["say"], world)


def test_batch_of_one_trains_if_batch_norms_see_frames(recipe, out):
    model = {"name": "resnet18", "channels": 2, "dim": 4}
    train(recipe(model=model, data={"dev": None}, train={"steps": 2, "batch_size": 4, "accumulate": 4}), out, **QUIET)
    assert math.isfinite(metrics(out)[-1]["loss"])


@pytest.mark.parametrize("loss", [*PRESETS, "sphereface2"])
def test_every_loss_with_a_head_trains(recipe, out, loss):
    train(recipe(loss=loss, data={"dev": None}, train={"steps": 4, "log_every": 1}), out, **QUIET)
    records = metrics(out)
    assert all(math.isfinite(one["loss"]) for one in records)
    moves = "annealing" if loss in ("a_softmax", "l_softmax") else "margin"
    assert len({one[moves] for one in records}) == (1 if loss in ("softmax", "nsl") else 3)


@pytest.mark.parametrize(
    "loss",
    ["inter_top_k_aam", "sphereface2", "adaface", "curricularface", "sphereface_r", "elastic_lmcl", "hyperbolic_am"],
)
def test_other_losses_learn(recipe, out, loss):
    told = []
    keys = {"steps": 40, "log_every": 10, "batch_size": 16, "lr_schedule": "constant"}
    keys["optimizer"] = {"lr": 0.01 if loss == "hyperbolic_am" else 0.1}
    of_one_piece = {"name": loss, "schedules": {"m": "constant"}}
    train(recipe(loss=of_one_piece, data={"dev": None}, train=keys), out, say=told.append)
    records = metrics(out)
    assert records[-1]["loss"] < 0.8 * records[0]["loss"] and records[-1]["accuracy"] > records[0]["accuracy"]
    assert not any("warning" in text for text in told)


@pytest.mark.parametrize("loss", ["triplet", SEMI_HARD, "angular_prototypical", "ge2e"])
def test_pair_losses_learn(recipe, out, loss):
    told = []
    train(
        recipe(
            loss=loss,
            data={"utterances_per_speaker": 3, "dev": None},
            train={"steps": 40, "log_every": 10, "batch_size": 18, "lr_schedule": "constant", "precision": "fp32"},
        ),
        out,
        say=told.append,
    )
    losses = [one["loss"] for one in metrics(out)]
    assert losses[-1] < 0.8 * losses[0]
    assert not any("warning" in text or "margin 0" in text for text in told)
    name = loss if isinstance(loss, str) else loss["name"]
    assert f"with the loss {name}" in (out / "model" / "card.md").read_text()


def test_files_of_a_run(recipe, out):
    told = []
    parts = recipe(
        loss={
            "name": "bd_lmcl",
            "m": 0.2,
            "schedules": {
                "m": {"name": "warmup", "start": 0.25, "end": 0.75},
                "s": {"name": "linear", "unit": "step", "initial": 1, "final": 2, "end": 8},
                "annealing": {"name": "linear", "unit": "epoch", "initial": 9, "final": 0, "end": 1},
            },
        },
        train={
            "lr_schedule": {"name": "piecewise", "points": [[0, 0], [0.5, 1], [1, 0]]},
            "optimizer": {"lr": 0.01},
        },
    )
    train(parts, out, say=told.append)
    trained = [one for one in metrics(out) if "loss" in one]
    assert [one["step"] for one in trained] == [2, 4, 6, 8]
    # for the step before the record (from 0): lr at progress (step + 1) / 8, margin at step / 8
    assert [one["lr"] for one in trained] == pytest.approx([0.005, 0.01, 0.005, 0.0])
    assert [one["margin"] for one in trained] == pytest.approx([0.0, 0.05, 0.15, 0.2])
    assert [one["scale"] for one in trained] == pytest.approx([30 * (1 + step / 8) for step in (1, 3, 5, 7)])
    assert [one["annealing"] for one in trained] == pytest.approx([9 * (1 - step / 4.5) for step in (1, 3)] + [0, 0])
    for one in trained:
        for share in ("accuracy", "margin_accuracy", "boundary_share", "waiting"):
            assert 0 <= one[share] <= 1
        assert one["loss"] > 0 and one["gradient_norm"] > 0 and one["utterances_per_second"] > 0
    assert [one["step"] for one in metrics(out) if "dev_eer" in one and 0 <= one["dev_min_dcf"] <= 1] == [4, 8]
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "config.yaml",
        "starts.jsonl",
        "train.log",
        "metrics.jsonl",
        "checkpoints",
        "model",
        "model-best",
        "complete",
    }
    assert [path.name for path in checkpoint.saved(out / "checkpoints")] == ["step-00000006", "step-00000008"]
    line = next(text for text in told if text.startswith("step 4/8  loss"))
    for word in ("accuracy", "margin 0.050", "lr 1.00e-02", " utt/s"):
        assert word in line
    assert any("dev EER" in text and "best so far" in text for text in told)
    assert "36 utterances of 12 speakers" in (out / "model" / "card.md").read_text()


def test_progress_of_the_first_step_is_0(recipe, tmp_path):
    """The first step has progress 0, as logged by `moving`; the learning rate is that of the end of the step."""
    learner = build(recipe(train={"steps": 4}), tmp_path, lambda text: None).learner
    seen = []
    learner.loss.register_forward_pre_hook(lambda module, given: seen.append(given[2]))
    for step in range(4):
        learner.step(step, learner.inputs.batch(step))
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_processes_draw_different_random_numbers(recipe, tmp_path, monkeypatch):
    """Dither and dropout: the first process draws the numbers of a single process, the others different ones."""
    monkeypatch.setattr(Learner, "_over_processes", lambda self: None)  # there are no other processes
    drawn = []
    for world in (World(), World(0, 3, 0, 3), World(1, 3, 1, 3), World(2, 3, 2, 3)):
        build(recipe(train={"batch_size": 12}), tmp_path, lambda text: None, world)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def test_dev_trials_without_a_dev_pack_are_rejected(recipe, tmp_path):
    """They would not be used, and a missing file would end the run after its directory was created."""
    with pytest.raises(InputError, match=r"dev_trials lists trials between recordings of data.dev; set data.dev"):
        recipe(data={"dev": None, "dev_trials": str(tmp_path / "trials")})


def test_tensorboard_events(recipe, out):
    pytest.importorskip("tensorboardX")
    train(recipe(train={"steps": 2}), out, **QUIET)
    assert any(path.stat().st_size > 100 for path in (out / "events").iterdir())


def test_without_tensorboard(recipe, out, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tensorboardX.")]:  # imported by earlier runs
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    told = []
    train(recipe(train={"steps": 2}), out, say=told.append)
    assert any("pip install 'spkver[tensorboard]'" in text for text in told)


def test_same_seed_same_weights(recipe, tmp_path):
    full = recipe(augment={"speeds": [0.9, 1.0, 1.1], "waveform": ["noise", "reverb"], "features": ["spec_augment"]})
    train(full, tmp_path / "a", **QUIET)
    train(full, tmp_path / "b", **QUIET)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert untimed(tmp_path / "a") == untimed(tmp_path / "b")
    train(full.model_copy(update={"seed": 2}), tmp_path / "c", **QUIET)
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


RUNNING_MEANS = {"name": "curricularface", "margin": "adaface"}


@pytest.mark.parametrize(
    ("optimizer", "network", "loss"),
    [
        *[(optimizer, network, "softmax") for optimizer in OPTIMIZERS for network in ("xvector", "resnet")],
        ("sgd", "xvector", RUNNING_MEANS),
        ("sgd", "xvector", "elastic_aam"),
    ],
)
def test_resumed_run_is_identical(recipe, tmp_path, optimizer, network, loss):
    """Stopped after step 3, between two log lines: later checkpoints, records and the model are removed."""
    model = {"name": "resnet", "depth": 18, "channels": 4, "dim": 8} if network == "resnet" else "xvector"
    model = {"name": "xvector", "channels": 8, "pooled_channels": 16, "dim": 8} if model == "xvector" else model
    parts = recipe(
        model=model,
        loss=loss,
        front_end={"dither": 1.0},  # drawn from torch's global random state
        augment={"speeds": [0.9, 1.0], "features": ["spec_augment"]},
        train={"steps": 5, "optimizer": optimizer, "keep_checkpoints": 5, "precision": "fp32"},
    )
    train(parts, tmp_path / "a", **QUIET)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "model")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000005")
    (tmp_path / "b" / "complete").unlink()
    with (tmp_path / "b" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 6, "lo')
    torch.manual_seed(99)
    train(parts, tmp_path / "b", resume=True, **QUIET)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert untimed(tmp_path / "a") == untimed(tmp_path / "b")
    assert [list(one) for one in metrics(tmp_path / "a")] == [list(one) for one in metrics(tmp_path / "b")]
    last = [checkpoint.read(tmp_path / name / "checkpoints" / "step-00000005") for name in "ab"]
    assert last[0].numbers == last[1].numbers
    for name, tensor in last[0].tensors.items():
        assert torch.equal(tensor, last[1].tensors[name]), name


def test_damaged_checkpoint_is_skipped(recipe, tmp_path, out):
    parts = recipe()
    train(parts, out, **QUIET)
    before = weights(out)
    (out / "complete").unlink()
    newest = out / "checkpoints" / "step-00000008" / "rank-0.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    told = []
    train(parts, out, resume=True, say=told.append)
    assert any("damaged checkpoint" in text and "step-00000008" in text for text in told)
    assert any("resuming after step 6 of 8" in text for text in told)
    assert weights(out) == before
    checkpoint.read(newest.parent)


def test_complete_run_is_not_changed(recipe, out):
    parts = recipe(train={"steps": 2})
    train(parts, out, **QUIET)
    stamp = (out / "model").stat().st_mtime_ns
    told = []
    train(parts, out, resume=True, say=told.append)
    assert told == [f"already complete: {out / 'model'}"]
    assert (out / "model").stat().st_mtime_ns == stamp


def test_resume_without_a_run(recipe, tmp_path):
    train(recipe(train={"steps": 1}), tmp_path / "new", resume=True, **QUIET)
    assert (tmp_path / "new" / "model").is_dir()


@pytest.fixture
def broken(recipe, tmp_path):
    """A recipe with 40 utterances, of which u30 has NaN features, and a checkpoint at every step."""
    path, front_end = tmp_path / "pack", recipe().front_end
    with PackWriter(
        path, kind="features", sample_rate=8000, front_end=front_end.model_dump(mode="json"), rows_per_shard=99
    ) as pack:
        random = np.random.default_rng(0)
        for number in range(40):
            features = random.normal(size=(60, 24)).astype("<f2")
            if number == 30:
                features[:, 3] = np.nan
            pack.add(f"u{number}", f"s{number % 4}", "", features)
    keys = {"steps": 20, "batch_size": 5, "log_every": 20, "checkpoint_every": 1, "keep_checkpoints": 20}
    return lambda **train: recipe(data={"train": str(path), "dev": None}, train=keys | train)


def test_too_many_non_finite_steps_end_the_run(broken, out):
    """At a step without log line and checkpoint; the previous checkpoint remains the last."""
    with pytest.raises(RunError, match=r"not finite at step (\d+); .*\bu30\b") as caught:
        train(broken(max_skipped=0), out, **QUIET)
    step = int(str(caught.value).split("step ")[1].split(";")[0])
    kept = checkpoint.saved(out / "checkpoints")
    assert len(kept) == step - 1
    if kept:
        assert all(tensor.isfinite().all() for tensor in checkpoint.read(kept[-1]).tensors.values())
    assert not (out / "model").exists()
    assert (out / "train.log").read_text().splitlines()[-1].endswith(f"ended: {caught.value}")
    # resumed with a higher limit; 20 steps are 2.5 epochs of the 40 utterances
    told = []
    train(broken(max_skipped=3), out, resume=True, say=told.append)
    skips = [text for text in told if text.startswith("warning: the loss or its gradient is not finite")]
    assert 2 <= len(skips) <= 3 and all(" u30" in text for text in skips)
    assert f"({len(skips)} of at most 3)" in skips[-1]
    (record,) = (one for one in metrics(out) if "loss" in one)
    assert all(math.isfinite(value) for value in record.values()) and record["skipped"] == len(skips)


def test_non_finite_step_is_skipped_completely(broken, out, device):
    told = []
    train(broken(device=device), out, say=told.append)
    step = int(next(text for text in told if "is skipped" in text).split("step ")[1].split(",")[0])
    before, after = (checkpoint.read(out / "checkpoints" / f"step-{number:08d}") for number in (step - 1, step))
    moved = [
        name
        for name, tensor in before.tensors.items()
        if not torch.equal(tensor, after.tensors[name]) and not name.endswith("num_batches_tracked")
    ]
    assert moved == [] and after.numbers["skipped"] == before.numbers["skipped"] + 1


@pytest.mark.parametrize("dev", [True, False])
def test_diverging_run_ends_with_an_error(recipe, out, dev):
    keys = {"lr_schedule": {"name": "constant"}, "clip_norm": None, "max_skipped": 4}
    diverging = keys | {"optimizer": {"name": "sgd", "lr": 1e30}}
    why = "non-finite embedding .* diverged" if dev else r"not finite at step \d \(5 steps in total"
    with pytest.raises(RunError, match=f"{why}.*lower the learning rate"):
        train(recipe(loss="softmax", train=diverging, **({} if dev else {"data": {"dev": None}})), out, **QUIET)
    assert not (out / "model").exists()


@pytest.mark.parametrize("final", ["last", "best", "average"])
def test_final_weights(recipe, tmp_path, out, final):
    parts = recipe(
        train={"final": final, "average_last": 3, "keep_checkpoints": 3, "checkpoint_every": 2, "dev_every": 3}
    )
    train(parts, out, **QUIET)
    model = load_model(out / "model").network.state_dict()
    if final == "best":
        best = min((one for one in metrics(out) if "dev_eer" in one), key=lambda one: one["dev_eer"])
        assert f"step {best['step']}." in (out / "model" / "card.md").read_text()
        assert weights(out) == (out / "model-best" / "model.safetensors").read_bytes()
        return
    paths = checkpoint.saved(out / "checkpoints")
    states = [checkpoint.part(checkpoint.read(path).tensors, "state.network.") for path in paths]
    assert len(states) == 3
    for name, tensor in model.items():
        if final == "last" or not tensor.is_floating_point():
            assert torch.equal(tensor, states[-1][name])
        else:
            torch.testing.assert_close(tensor, sum(state[name] for state in states) / 3)


def test_zero_steps_give_the_untrained_model(recipe, tmp_path):
    train(recipe(train={"steps": 0}), tmp_path / "a", **QUIET)
    train(recipe(train={"steps": 1}), tmp_path / "b", **QUIET)
    assert weights(tmp_path / "a") != weights(tmp_path / "b")
    assert load_model(tmp_path / "a" / "model").dim == 8


def test_network_without_parameters(recipe, out):
    parts = recipe(model="mean_fbank", front_end={"normalise": "none"}, data={"dev": None}, train={"steps": 0})
    train(parts, out, **QUIET)
    assert load_model(out / "model").dim == 24


def test_training_from_features(recipe, packs, out):
    parts = recipe(data={"train": str(packs / "features")}, loss="nsl", train={"steps": 20})
    train(parts, out, **QUIET)
    losses = [one["loss"] for one in metrics(out) if "loss" in one]
    assert losses[-1] < losses[0]


def test_training_in_bf16(recipe, tmp_path, out):
    train(recipe(train={"steps": 2, "precision": "bf16"}), out, **QUIET)
    assert all(math.isfinite(one["loss"]) for one in metrics(out) if "loss" in one)
    assert isinstance(computes_in_bf16(torch.device("cpu")), bool)


def test_process_settings_are_restored(recipe, out):
    threads = torch.get_num_threads()
    train(recipe(train={"steps": 1}), out, **QUIET)
    assert torch.get_num_threads() == threads
    assert (
        np.finfo(np.float32).smallest_subnormal > 0 and (torch.tensor(1e-40) * 1).item() > 0
    )  # denormals are not flushed


def test_accumulated_gradients_equal_those_of_the_batch(recipe, tmp_path, monkeypatch):
    """With batch norms that do not depend on the batch, the weights equal those without accumulation.

    Gradients are not clipped: clipping to one norm would hide a gradient that is not divided by the number of parts.
    """
    monkeypatch.setattr(torch.nn.BatchNorm1d, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    keys = {
        "steps": 4,
        "batch_size": 12,
        "precision": "fp32",
        "optimizer": {"name": "sgd", "lr": 0.01},
        "clip_norm": None,
    }
    found = []
    for number in (1, 3):
        parts = recipe(train=keys | {"accumulate": number}, augment={"waveform": ["noise"]}, data={"dev": None})
        train(parts, tmp_path / str(number), **QUIET)
        found.append(checkpoint.read(tmp_path / str(number) / "checkpoints" / "step-00000004").tensors)
    for name, tensor in found[0].items():
        if name.startswith("state."):
            torch.testing.assert_close(found[1][name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    with pytest.raises(InputError, match=r"compares utterances within a batch; set train.accumulate to 1"):
        recipe(loss="ge2e", data={"utterances_per_speaker": 2}, train={"accumulate": 2})
    with pytest.raises(InputError, match=r"batch_size 8 is not a multiple of train.accumulate 3"):
        recipe(train={"accumulate": 3})


def test_starts_and_log_are_recorded(recipe, packs, out):
    parts = recipe(train={"steps": 2})
    train(parts, out, **QUIET)
    (out / "complete").unlink()
    train(parts, out, resume=True, **QUIET)
    starts = [json.loads(line) for line in (out / "starts.jsonl").read_text().splitlines()]
    assert len(starts) == 2 and starts[0]["seed"] == 1
    assert starts[0]["versions"].keys() >= {"spkver", "python", "torch", "numpy", "system"}
    (pack,) = starts[0]["packs"]["data.train"]
    assert pack["sha256"] == sha256(packs / "train" / "pack.json") and pack["utterances"] == 36
    commit = starts[0]["git"]
    assert commit is None or len(commit["commit"]) == 40
    assert (
        "12 classes" in (out / "train.log").read_text() and "resuming after step 2" in (out / "train.log").read_text()
    )


def test_resuming_with_changed_data_is_rejected(recipe, packs, out, tmp_path):
    for name in ("first", "teacher"):
        train(recipe(train={"steps": 0}), tmp_path / name, **QUIET)
    for name, source in (("train", "train"), ("noise", "dev")):
        shutil.copytree(packs / source, tmp_path / name)
    trials = tmp_path / "trials"
    trials.write_text("1 s12/0 s12/1\n0 s12/0 s13/1\n")
    parts = recipe(
        data={"train": str(tmp_path / "train"), "dev_trials": str(trials)},
        augment={"waveform": [{"name": "noise", "packs": {"noise": str(tmp_path / "noise")}}]},
        start={"model": str(tmp_path / "first" / "model")},
        distil={"model": str(tmp_path / "teacher" / "model")},
        train={"steps": 2},
    )

    def start() -> None:
        (out / "complete").unlink(missing_ok=True)
        train(parts, out, resume=True, **QUIET)

    start()
    start()
    for name, path in (
        ("data.train", tmp_path / "train" / "pack.json"),
        ("augment", tmp_path / "noise" / "pack.json"),
        ("start.model", tmp_path / "first" / "model" / "config.yaml"),
        ("distil.model", tmp_path / "teacher" / "model" / "config.yaml"),
        ("data.dev_trials", trials),
    ):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        with pytest.raises(InputError, match=rf"^{name}: {tmp_path}.* has changed since the run was started on"):
            start()
        path.write_bytes(content)
    start()
    trials.write_text(trials.read_text() + "0 s12/0 s13/1\n")
    shutil.rmtree(out / "checkpoints")  # nothing to resume
    start()


def test_devices_give_the_same_result(recipe, packs, tmp_path, killed, device):
    """Up to rounding; also when resumed from a checkpoint."""
    dev = str(packs / "dev")
    noises = {"name": "noise", "packs": {"noise": dev, "babble": dev}}
    ways = [("cpu", "fp32", False), (device, "auto", False)]
    if device != "cpu":
        ways.append((device, "auto", True))
    runs = []
    for where, precision, compiled in ways:
        parts = recipe(
            augment={"speeds": [0.9, 1.0], "waveform": ["reverb", noises, "equaliser"], "features": ["spec_augment"]},
            train={
                "device": where,
                "precision": precision,
                "compile": compiled,
                "optimizer": {"name": "sgd", "lr": 0.02},  # at larger rates, rounding grows in six steps
                "steps": 6,
                "log_every": 2,
                "checkpoint_every": 2,
                "keep_checkpoints": 3,
                "ema": {"decay": 0.9},
            },
        )
        for name in "ab":
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        train(parts, tmp_path / "a", **QUIET)
        killed()
        train(parts, tmp_path / "b", resume=True, **QUIET)
        runs.append([[one["loss"] for one in metrics(tmp_path / name) if "loss" in one] for name in "ab"])
    for whole, resumed in runs:
        np.testing.assert_allclose(resumed, whole, rtol=1e-2)
        np.testing.assert_allclose(whole, runs[0][0], rtol=5e-2)


def test_duration():
    assert [duration(seconds) for seconds in (0, 61, 3599.6, 7322)] == ["0:00", "1:01", "1:00:00", "2:02:02"]


def test_missing_device_is_rejected(recipe, out):
    absent = "cuda:63" if torch.cuda.is_available() else "cuda"
    with pytest.raises(InputError, match=r"cannot be used here .*; try cpu or auto"):
        train(recipe(train={"device": absent}), out, **QUIET)
    assert not out.exists()


def test_augmentation_from_packs(recipe, packs, tmp_path):
    """Read ahead, depending on seed and step; packs of features or of another sample rate are rejected."""
    noise, rooms = {"noise": "dev", "babble": "dev", "music": "dev"}, str(packs / "dev")
    waveform = [
        {"name": "noise", "probability": 0.8, "packs": {kind: str(packs / name) for kind, name in noise.items()}},
        {"name": "reverb", "packs": rooms, "longest": 0.1},
    ]
    parts = recipe(augment={"waveform": waveform, "speeds": [0.9, 1.0], "speeds_as": "same"}, train={"steps": 4})
    train(parts, tmp_path / "a", **QUIET)
    train(parts, tmp_path / "b", **QUIET)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    wrong = recipe(augment={"waveform": [{"name": "reverb", "packs": str(packs / "features")}]})
    with pytest.raises(InputError, match="a feature pack; give the audio pack"):
        train(wrong, tmp_path / "c", **QUIET)
