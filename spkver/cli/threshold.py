"""spkver threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from spkver import tables
from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError
from spkver.files import write_json
from spkver.metrics import OperatingPoint
from spkver.verify import threshold as thresholds
from spkver.verify.decision import DECISION, Decision, Rate

_FILE = inputs.FILE


@click.command()
@click.argument("scores", type=_FILE)
@options.trials
@click.option("--far", type=options.FloatRange(0, 1), help="Target false-accept rate (FAR).")
@click.option("--frr", type=options.FloatRange(0, 1), help="Target false-reject rate (FRR).")
@click.option("--cost", type=float, nargs=3, metavar="P_TARGET C_MISS C_FA", help="Minimise the expected cost.")
@click.option("--eer", is_flag=True, help="Use the threshold of the equal error rate.")
@options.speakers("Speakers of the ids; by default, ids linked by target trials count as one speaker.")
@click.option("--prior", type=float, default=0.5, show_default=True, help="Target prior of the calibration.")
@click.option("--model", type=options.MODEL, help="Store threshold and calibration in this model directory.")
@click.option("--cohort", type=_FILE, help="Cohort that SCORES were normalised by (S-norm); stored with the model.")
@click.option("--top", type=click.IntRange(min=2), help="The --top of `spkver normalise`.")
@click.option("--audio", type=_FILE, help="Data directory or pack of the recordings: correct for seconds of speech.")
@options.replicates
@options.as_json
@options.json_file
def command(
    scores: Path,
    far: float | None,
    frr: float | None,
    cost: tuple[float, float, float] | None,
    eer: bool,
    model: str | None,
    as_json: bool,
    out: Path | None,
    **how: Any,
) -> None:
    """Choose the decision threshold for an operating point from labelled SCORES.

    A pair is accepted if its score is at or above the threshold. The 95 % intervals of the threshold and the rates
    come from a bootstrap over speakers.

    --model stores the threshold for `spkver verify` and `spkver identify`. SCORES must be plain cosines of that model,
    of recordings that resemble later use and were not used in training. Cosines after `spkver normalise --top N` also
    work: give the same --cohort and --top. The cohort is then stored too, without names, and normalises later scores.

    --audio makes the decision depend on the seconds of speech of both recordings: a correction of the score is fitted
    together with the calibration, and stored. The trials must have several lengths.

    \b
    Example:
      spkver threshold test.scores --trials trials.txt --far 0.001 --speakers data/test --model exp/my/model
      spkver threshold test.snorm --trials trials.txt --eer --model exp/my/model --cohort train.parquet --top 150
    """
    place = None if model is None else options.local(model)
    decision, doubts = thresholds.set_threshold(scores, _criterion(far, frr, cost, eer), model=place, **how)
    for doubt in doubts:
        to_stderr(f"warning: {doubt}")
    if out:
        write_json(out, decision.model_dump())
    click.echo(json.dumps(decision.model_dump(), indent=2) if as_json else _table(decision))
    if place:
        click.echo(f"stored in {place / DECISION}", err=as_json)


def _criterion(
    far: float | None, frr: float | None, cost: tuple[float, float, float] | None, eer: bool
) -> thresholds.Criterion:
    criteria = []
    if far is not None:
        criteria.append(thresholds.at_far(far))
    if frr is not None:
        criteria.append(thresholds.at_frr(frr))
    if cost is not None:
        criteria.append(thresholds.at_cost(OperatingPoint(*cost)))
    if eer:
        criteria.append(thresholds.at_eer())
    if len(criteria) != 1:
        raise InputError("give exactly one of --far, --frr, --cost and --eer")
    return criteria[0]


def _table(decision: Decision) -> str:
    calibration = decision.calibration
    rows = [
        ["", "value", "95 %", "errors", "trials"],
        ["threshold", f"{decision.threshold:.4f}", f"{decision.low:.4f} to {decision.high:.4f}", "", ""],
        ["FAR", *_cells(decision.far)],
        ["FRR", *_cells(decision.frr)],
    ]
    return (
        f"for {decision.wish}; intervals over {decision.speakers:,} speakers\n{tables.text(rows)}\n"
        f"log-likelihood ratio: {calibration.scale:.4f} x score {calibration.offset:+.4f}, "
        f"from {calibration.least:.2f} to {calibration.most:.2f}" + _correction(decision)
    )


def _correction(decision: Decision) -> str:
    if (found := decision.lengths) is None:
        return ""
    x = f"log(1/a + 1/b) {-np.log(2 / found.seconds):+.4f}, from {found.least:.2f} to {found.most:.2f}"
    return (
        f"\ncorrected scores are those of two recordings of {found.seconds:g} s of speech: "
        f"score + ({x}) x ({found.shift:+.4f} {found.slope:+.4f} x score)"
    )


def _cells(rate: Rate) -> list[str]:
    span = f"{100 * rate.low:.2g} to {100 * rate.high:.2g} %"
    return [f"{100 * rate.rate:.3g} %", span, f"{rate.errors:,}", f"{rate.trials:,}"]
