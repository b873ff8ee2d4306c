"""Names of the files in an experiment directory, and how numbers of the log are printed. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping

CONFIG, METRICS, CHECKPOINTS = "config.yaml", "metrics.jsonl", "checkpoints"
SHOWN = {
    "loss": "loss {:.3f}",
    "lr": "lr {:.2e}",
    "margin": "margin {:.3f}",
    "penalty": "penalty {:.3f}",
    "scale": "scale {:.2f}",
    "annealing": "annealing {:.3g}",
    "target_cosine": "target cosine {:.3f}",
    "hardest_cosine": "hardest cosine {:.3f}",
    "distil_cosine": "distil cosine {:.3f}",
    "teacher_entropy": "teacher entropy {:.2f}",
    "batch_entropy": "batch entropy {:.2f}",
    "teacher_temperature": "teacher temperature {:.3f}",
    "gradient_norm": "gradient norm {:.2f}",
    "skipped": "{:.0f} skipped",
    "utterances_per_second": "{:.0f} utt/s",
    "dev_eer": "dev EER {:.2%}",
    "dev_min_dcf": "dev minDCF {:.3f}",
}
"""Formats of the numbers in the log; all others are shares in percent."""
LINE = (
    *("loss", "accuracy", "teacher_entropy", "batch_entropy", "lr", "margin", "dev_eer", "dev_min_dcf"),
    *("skipped", "utterances_per_second"),
)
"""The numbers in a line of train.log, which fits 120 columns; metrics.jsonl has all numbers."""
GLANCE = ("loss", "accuracy", "margin_accuracy", "dev_eer", "utterances_per_second")
"""The numbers beside the progress bar."""
TIMING = frozenset({"utterances_per_second", "waiting"})
"""Measurements of time, which differ between otherwise identical runs."""


def shown(name: str, value: float) -> str:
    """A number of the log with its name, as printed."""
    return SHOWN.get(name, f"{name.replace('_', ' ')} {{:.1%}}").format(value)


def is_share(name: str) -> bool:
    """Whether a number of the log is printed in percent."""
    return name not in SHOWN or "%}" in SHOWN[name]


def line(values: Mapping[str, float]) -> list[str]:
    """The most important numbers, formatted for train.log."""
    return [shown(name, values[name]) for name in LINE if name in values]


def glance(values: Mapping[str, float]) -> str:
    """The most important numbers in a short line for the progress bar."""
    return ", ".join(shown(name, values[name]) for name in GLANCE if name in values)
