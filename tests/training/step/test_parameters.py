from __future__ import annotations

import pytest
from torch import nn

from spkver.errors import InputError
from spkver.training.step.parameters import freeze, lr_factors


@pytest.fixture
def modules():
    block = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    network = nn.ModuleDict({"layer1": block, "layer2": nn.Linear(3, 2), "norm": nn.BatchNorm1d(2, affine=False)})
    return nn.ModuleDict({"network": network, "loss": nn.ModuleDict({"head": nn.Linear(2, 4)})})


def learnt(modules):
    return {name for name, parameter in modules.named_parameters() if parameter.requires_grad}


def still(modules, found):
    names = {module: name for name, module in modules.named_modules()}
    return {names[module] for module in found}


def test_module_name_matches_all_its_parameters(modules):
    found = freeze(modules, ["network.layer1"])
    assert learnt(modules) == {"network.layer2.weight", "network.layer2.bias", "loss.head.weight", "loss.head.bias"}
    assert still(modules, found) == {"network.layer1"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["network.*.weight"], set()),  # biases are still trained
        (["network.layer1.1"], {"network.layer1.1"}),
        (["network.layer1.0", "network.layer1.1.[wb]*"], {"network.layer1"}),
        (["network"], {"network"}),
        (["network.layer?"], {"network"}),  # nothing of it is trained
        (["*.bias", "network.layer1", "loss"], {"network.layer1", "loss"}),
        ([], set()),
    ],
)
def test_modules_in_evaluation_mode(modules, patterns, expected):
    assert still(modules, freeze(modules, patterns)) == expected


def test_patterns_without_a_match_name_similar_parameters(modules):
    for wrong, near in (
        ("network.layer3", "did you mean 'network.layer2' or 'network.layer1'"),
        ("network.layer1.0.weigth", "did you mean 'network.layer1.0.weight'"),
        ("encoder", "known: network.layer1, network.layer2, loss.head"),
    ):
        with pytest.raises(InputError, match=f"train.freeze: '{wrong}' matches no parameter; {near}"):
            freeze(modules, [wrong])
    with pytest.raises(InputError, match=r"train.lr_factors: 'head' matches no parameter"):
        lr_factors(dict(modules.named_parameters()), {"head": 2.0})
    with pytest.raises(InputError, match="leave nothing to train"):
        freeze(modules, ["*"])


def test_last_matching_pattern_wins(modules):
    factors = lr_factors(dict(modules.named_parameters()), {"network": 0.1, "network.layer2": 0.5, "*.head.bias": 2.0})
    assert factors["network.layer1.0.weight"] == 0.1 and factors["network.layer2.bias"] == 0.5
    assert factors["loss.head.bias"] == 2.0 and factors["loss.head.weight"] == 1.0
