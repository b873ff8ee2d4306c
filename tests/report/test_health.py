"""Every rule on a run that it is made for, and silence on healthy ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.packs import PackWriter
from spkver.report import training
from spkver.report.health import RULES, Run, findings, read_run, summary

LINES = 40
TIME = np.linspace(0, 1, LINES)


def healthy(classes=1000, seed=0, **changed):
    """A typical run of BD-LMCL, whose margin grows after a tenth of it; `changed`: other metrics."""
    random = np.random.default_rng(seed)
    margin = 0.2 * np.clip((TIME - 0.1) / 0.2, 0, 1)
    accuracy = 0.95 - 0.9 * np.exp(-6 * TIME)
    with_margin = accuracy * (1 - 4 * margin * np.exp(-TIME))
    curves = {
        "loss": np.log(classes) * np.exp(-4 * TIME) + 8 * margin * np.exp(-2 * TIME) + 0.5,
        "accuracy": accuracy,
        "margin_accuracy": with_margin,
        "boundary_share": 1 - with_margin,
        "target_cosine": 0.1 + 0.6 * accuracy,
        "hardest_cosine": 0.4 - 0.1 * accuracy,
        "gradient_norm": 3 + 30 * np.exp(-40 * TIME),
        "lr": 0.1 * np.minimum(TIME / 0.05, 1) * np.exp(-6 * TIME),
        "margin": margin,
        "utterances_per_second": 1000 * np.ones(LINES),
        "waiting": np.r_[0.3, np.full(LINES - 1, 0.003)],
        "skipped": np.zeros(LINES),
        "dev_eer": np.array([0.15, 0.11, 0.1, 0.098, 0.1]),
        "distil_cosine": 0.9 * accuracy,
    }
    # some per cent, at most half of the tenth that the rules call a change
    noise = {
        name: 1 + 0.03 * random.normal(size=len(values)).clip(-1.5, 1.5)
        for name, values in curves.items()
        if name != "margin"
    }
    curves = {
        name: np.minimum(values * noise.get(name, 1.0), 1 if "acc" in name else np.inf)
        for name, values in curves.items()
    } | changed
    steps = {length: np.linspace(100, 4000, length).astype(int) for length in map(len, curves.values())}
    return Run({name: (steps[len(v)], v) for name, v in curves.items()}, steps=4000, classes=classes, dev=True)


def rules(run):
    return [finding.rule for finding in findings(run)]


@given(st.integers(0, 10_000), st.sampled_from([2, 10, 125, 6000, 1_000_000]))
def test_healthy_runs_have_no_findings(seed, classes):
    assert findings(healthy(classes, seed)) == []


def test_other_healthy_runs_have_no_findings():
    run = healthy()
    plain = {name: curve for name, curve in run.curves.items() if name not in ("margin", "skipped")}
    everyone = {**plain, "boundary_share": (run.steps_of("loss"), np.ones(LINES))}
    assert rules(Run(everyone, steps=4000, classes=1000)) == []
    for step in (0, 100, 200, 300, 500, 900, 2000, 3000):  # a run that has just begun
        begun = {name: (steps[steps <= step], values[steps <= step]) for name, (steps, values) in run.curves.items()}
        assert rules(Run(begun, steps=4000, classes=1000)) == [], step
    assert rules(Run({})) == []


def ones(value=1.0):
    return np.full(LINES, value)


EARLY = np.r_[np.geomspace(7, 2, LINES // 2)]
CASES = {
    "no_learning": {"loss": ones(6.95), "accuracy": ones(0.001), "margin_accuracy": ones(0.001)},
    "too_short": {"accuracy": 0.12 * TIME, "margin_accuracy": 0.02 * TIME},
    "diverged": {"loss": np.r_[EARLY, np.linspace(2, 9, LINES // 2)]},
    "gradient_spikes": {"gradient_norm": np.where(np.arange(LINES) == 25, 40.0, 3.0)},
    "skipped_steps": {"skipped": np.where(np.arange(LINES) >= 25, 3.0, 0.0)},
    "collapsed": {"target_cosine": ones(0.98), "hardest_cosine": ones(0.97)},
    "margin_too_large": {"margin_accuracy": ones(0.0005), "boundary_share": np.r_[0.95, ones(0.9995)[1:]]},
    "boundary_empty": {"margin_accuracy": ones(0.9), "boundary_share": np.r_[0.9, ones(0.001)[1:]]},
    "overfitting": {"dev_eer": np.array([0.15, 0.1, 0.115, 0.12, 0.14])},
    "starved": {"waiting": ones(0.2)},
    "slowing": {"utterances_per_second": np.r_[ones(1000)[:25], ones(400)[25:]]},
    "rate_never_decayed": {"lr": ones(0.1)},
    "dev_not_measured": {"dev_eer": np.empty(0)},
}


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_finds_its_case_only(rule):
    run = healthy(**CASES[rule])
    assert rules(run) == [rule]
    text = findings(run)[0].text
    assert (
        (text[0].isupper() or text[0].isdigit())
        and text.endswith(".")
        and text.count(". ") >= (rule != "dev_not_measured")
    )


def test_every_rule_has_a_case():
    assert CASES.keys() == RULES.keys()


def test_messages():
    said = {rule: findings(healthy(**changed))[0].text for rule, changed in CASES.items()}
    assert (
        "the loss was 6.95 at first and is 6.95 (chance with 1000 classes is ln 1000 = 6.91)" in (said["no_learning"])
    )
    assert "training accuracy is 10.6%, it was 8.0% a quarter" in said["too_short"]
    assert "2.00 at step 2000 and is 7.89" in said["diverged"]
    assert (
        said["skipped_steps"].startswith("3 steps were skipped") and "first before step 2600." in said["skipped_steps"]
    )
    assert "40 around step 2600, median 3 (1 of 36 log lines" in said["gradient_spikes"]
    assert "0.05% with the margin of 0.2 (every sample is a boundary sample)" in said["margin_too_large"]
    assert "the best dev EER was 10.00% at step 1075, it is 14.00% at step 4000" in said["overfitting"]
    assert "1000 utterances per second at first, 400 at the end" in said["slowing"]
    gone = np.where(np.arange(LINES) >= 30, np.nan, np.geomspace(7, 2, LINES))
    assert "not finite from step 3100 on" in {f.rule: f.text for f in findings(healthy(loss=gone))}["diverged"]
    lost = np.r_[np.linspace(0.05, 0.9, 30), np.full(10, 0.1)]
    assert "accuracy was 90.0% at step 3000 and is 10.0%" in findings(healthy(accuracy=lost))[0].text
    assert "hold out some speakers" in findings(Run({}, dev=False))[0].text


def test_margin_that_is_met_late_is_no_finding():
    rising = np.r_[ones(0.0)[:10], np.geomspace(1e-5, 2e-3, LINES - 10)]
    assert rules(healthy(margin_accuracy=rising, boundary_share=1 - rising)) == []


def test_constant_margin_is_read_from_config():
    curves = {name: curve for name, curve in healthy(**CASES["margin_too_large"]).curves.items() if name != "margin"}
    assert rules(Run(curves, classes=1000, dev=True)) == []
    assert rules(Run(curves, classes=1000, dev=True, m=0.5)) == ["margin_too_large"]


@pytest.mark.parametrize(
    ("rule", "steps"), [("rate_never_decayed", 4001), ("margin_too_large", 8001), ("too_short", 4001)]
)
def test_unfinished_runs_are_not_judged_yet(rule, steps):
    run = healthy(**CASES[rule])
    assert rules(Run(run.curves, steps=steps, classes=1000, dev=True)) == []


@pytest.fixture
def experiment(tmp_path):
    """The directory of a run, with its config, and the index of its training pack."""
    run = healthy(**CASES["starved"])
    out, pack = tmp_path / "out", tmp_path / "pack"
    out.mkdir()
    pack.mkdir()
    lines = [{"step": int(s), name: float(v)} for name in run.curves for s, v in zip(*run.curves[name])]
    lines.sort(key=lambda line: line["step"])
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "metrics.jsonl").write_text(text + '{"step": 4100, "lo')  # killed as it wrote
    (out / "config.yaml").write_text(
        f"data: {{train: {pack}, dev: null}}\naugment: {{speeds: [1.0, 0.9, 1.1]}}\n"
        "loss: {name: bd_lmcl, m: 0.3, head: {}}\ntrain: {steps: 8000, batch_size: 64}\n"
    )
    (pack / "pack.json").write_text('{"format": 1, "speakers": 7}')
    return out


def write_packs(folder, speakers):
    """Packs with one utterance of each of these speakers."""
    for name, own in speakers.items():
        with PackWriter(folder / name, kind="audio", sample_rate=8000) as pack:
            for speaker in own:
                pack.add(f"{name}/{speaker}", speaker, "", np.zeros(9, "<i2"))


def test_advice_for_pair_losses_names_their_keys():
    """Pair losses have no head, schedules or selector; few triplets with a loss above 0 are a good sign."""
    few = healthy(boundary_share=np.r_[0.9, ones(0.001)[1:]])
    assert rules(few) == ["boundary_empty"] and rules(replace(few, head=False, m=0.2)) == []
    for rule in ("no_learning", "collapsed", "margin_too_large"):
        with_head, without = healthy(**CASES[rule]), replace(healthy(**CASES[rule]), head=False)
        assert rules(without) == [rule]
        said, plain = findings(with_head)[0].text, findings(without)[0].text
        assert "loss.schedules" in said or "loss.head" in said
        assert "loss.schedules" not in plain and "loss.head" not in plain and plain.endswith(".")


def test_read_run(experiment, tmp_path):
    run = read_run(experiment)
    assert (run.steps, run.classes, run.dev, run.m, run.last_step) == (8000, 21, False, 0.3, 4000)
    assert rules(run) == ["starved"]
    assert summary(run).startswith("step 4000 of 8000, loss ") and "at step 2050" in summary(run)
    (tmp_path / "pack" / "pack.json").unlink()
    assert read_run(experiment).classes is None
    config = experiment / "config.yaml"
    text = config.read_text()
    write_packs(tmp_path, {"one": ["a", "b"], "two": ["b", "c"]})
    several = text.replace(f"train: {tmp_path / 'pack'}", f"train: [{tmp_path / 'one'}, {tmp_path / 'two'}]")
    config.write_text(several)
    assert read_run(experiment).classes == 9  # three speakers at three speeds
    config.write_text(several + "start: {head: extend}\n")
    assert read_run(experiment).classes is None
    config.write_text("data: {utterances_per_speaker: 2}\nloss: {name: ge2e}\ntrain: {batch_size: 64}\n")
    assert read_run(experiment).classes == 32 and not read_run(experiment).head
    config.unlink()
    assert read_run(experiment).steps is None
    for spoilt in ("[1, 2", "- 1\n"):
        config.write_text(spoilt)
        with pytest.raises(InputError, match=r"config\.yaml: "):
            read_run(experiment)


def test_page(experiment, tmp_path):
    runs = {"<a>": read_run(experiment), "b": healthy()}
    training.write_page(runs, tmp_path / "page.html", title="A & B")
    page = (tmp_path / "page.html").read_text()
    assert "<h2>&lt;a&gt;</h2>" in page and "<b>starved</b>: Training waited for data 20%" in page
    assert page.count(f"<p>{training.HEALTHY}</p>") == 1 and "<title>A &amp; B</title>" in page
    absent = {"active_share", "distil_cosine", "teacher_entropy", "batch_entropy", "positives"}  # of other losses
    assert page.count('class="chart"') == len(set(training.PANELS) - absent) and "dev eer (%)" in page
    lost = healthy(loss=ones(np.nan), accuracy=np.where(np.arange(LINES) > 20, np.nan, 0.5))
    training.write_page({"lost": lost}, tmp_path / "lost.html", title="Lost")
    page = (tmp_path / "lost.html").read_text()
    assert "not finite from step 100 on" in page
    assert page.count('class="chart"') == len(set(training.PANELS) - absent) - 1
    assert rules(lost) == ["diverged"] == rules(healthy(loss=ones(np.nan), gradient_norm=ones(np.nan)))
    with pytest.raises(InputError, match="nothing was logged yet"):
        training.write_page({"b": Run({})}, tmp_path / "b.html", title="B")
    assert not (tmp_path / "b.html").exists()
