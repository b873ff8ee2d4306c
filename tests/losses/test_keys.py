"""Every key of a loss changes the loss, or is rejected if it has no effect."""

from __future__ import annotations

import pytest
import torch

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import HEADS, LOSSES, MARGINS, SELECTORS, WEIGHTINGS
from spkver.losses.heads import HeadLoss
from spkver.schedules import SCHEDULES, Run

FREE = {"reduction", "split"}
"""keys for the method of computation, which do not change the result"""
M = {
    "multiplicative": {"m": 2, "schedules": {"m": "constant"}},
    "none": {"m": 0},
    "sphereface_r": {"margin": {"name": "sphereface_r", "factor": 4}, "m": 1},
    "combined": {"margin": {"name": "combined", "m2": 0.2}, "m": 1},
}
COMBINATIONS = [
    *({"name": name} for name in LOSSES if name != "dino" and not name.startswith("sub_centre_")),
    # small, and with frozen prototypes in a part of the run that the places below distinguish
    {"name": "dino", "frozen": 0.2, "projection": {"hidden": 4, "bottleneck": 3, "prototypes": 8}},
    # no angle to the nearest of three prototypes is near π
    *({"name": name, "m": 2.5} for name in ("sub_centre_aam", "sub_centre_curricularface")),
    *({"name": "lmcl", "selector": name} for name in SELECTORS),
    *({"name": "lmcl", "selector": name, "others": "ignored"} for name in SELECTORS if name != "all"),
    *({"name": "lmcl", "margin": name, "m": 0.3} | M.get(name, {}) for name in MARGINS),
    *({"name": "bd_lmcl", "margin": name, "m": 0.3} | M.get(name, {}) for name in MARGINS),
    *({"name": "lmcl", "weighting": name} for name in WEIGHTINGS),
    *({"name": "nsl", "head": head} for head in ({"name": "linear", "bias": False}, "unit")),
    {"name": "lmcl", "head": {"sample": {"share": 0.5}}},
    {"name": "ge2e", "form": "contrast"},
    {"name": "sphereface2", "form": "A"},
]


@pytest.fixture
def outcome(batch):
    """The losses at several points of a run, with all gradients, as one vector."""
    x, _ = batch
    y = torch.arange(len(x)) % 6

    def compute(config) -> torch.Tensor:
        torch.manual_seed(1)
        loss = LOSSES.build(config, x.shape[1], 40, Run(20, 3.0)).double().train()
        near = x.detach().clone()
        if isinstance(loss, HeadLoss):  # some far from their own prototype, some near, and some opposite to it
            own = loss.head.weight.detach()[y * loss.head.centres]
            near += torch.logspace(-1, 2, len(x))[:, None] * own
            near[:3] = -own[:3]
        near.requires_grad_()
        places = (0.0, 0.15, 0.25, 0.7, 0.9, 1.0)
        found = [loss(near * (1 + place), y, place) for place in places]  # with changing norms
        gradients = torch.autograd.grad(sum(one.loss for one in found), [near, *loss.parameters()], allow_unused=True)
        parts = [one.per_sample for one in found] + [one.selected_share for one in found]
        parts += [one for one in gradients if one is not None]
        return torch.cat([part.flatten() for part in parts])

    return compute


def test_every_head_and_schedule_is_in_a_combination():
    configs = [validate(LOSSES, keys) for keys in COMBINATIONS]
    assert {config.head.name for config in configs if hasattr(config, "head")} == set(HEADS)


@pytest.mark.parametrize("keys", COMBINATIONS, ids=str)
def test_every_key_has_an_effect_or_is_rejected(keys, alternatives, outcome):
    config = validate(LOSSES, keys)
    plain = outcome(config)
    for key, changed in alternatives(config):
        if not FREE & set(key.split(".")):
            accepted = []
            for tree in changed:
                try:
                    accepted.append(outcome(validate(LOSSES, tree)))
                except InputError:
                    continue
            assert not accepted or any(one.shape != plain.shape or not one.equal(plain) for one in accepted), key


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "constant", "value": 0.5},
        {"name": "warmup"},
        {"name": "linear", "initial": 1, "final": 0.5},
        {"name": "exponential", "initial": 1, "final": 0.5},
        {"name": "piecewise", "points": [[0, 1], [0.5, 0.5], [1, 1]]},
    ],
    ids=lambda schedule: schedule["name"],
)
def test_every_key_of_a_schedule_has_an_effect_or_is_rejected(schedule, alternatives):
    def values(config):
        return [SCHEDULES.build(config, Run(20, 3.0)).at(place / 20) for place in range(21)]

    config = validate(SCHEDULES, schedule)
    for key, changed in alternatives(config):
        accepted = []
        for tree in changed:
            try:
                accepted.append(validate(SCHEDULES, tree))
            except InputError:
                continue
        assert not accepted or any(values(one) != values(config) for one in accepted), key


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "lmcl", "others": "ignored"}, "others has no effect with selector all; leave it out"),
        ({"name": "lmcl", "schedules": {"selection": "warmup"}}, "schedules.selection has no effect with selector all"),
        ({"name": "nsl", "schedules": {"m": "constant"}}, "schedules.m has no effect with margin none"),
        ({"name": "nsl", "schedules": {"annealing": "constant"}}, "schedules.annealing has no effect with margin none"),
        ({"name": "bd_lmcl", "normalise_by": "selected"}, "normalise_by has no effect with others: unmargined"),
        ({"name": "angular_prototypical", "b": 0}, "b has no effect on a softmax"),
        ({"name": "ge2e", "b": 0}, "b has no effect on a softmax"),
    ],
)
def test_key_without_effect_is_named(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, keys)


@pytest.mark.parametrize("name", LOSSES)
def test_complete_config_is_accepted(name):
    config = validate(LOSSES, name)
    assert validate(LOSSES, config.model_dump(mode="json")) == config
