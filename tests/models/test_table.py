from __future__ import annotations

import pytest
import torch
from torch import nn

from spkver.errors import InputError
from spkver.models import table


# published by WeSpeaker for 200 frames; including batch norms, so up to 4 % higher
@pytest.mark.parametrize(
    ("name", "published"), [("tdnn", 0.53), ("resnet34", 4.55), ("resnet293", 28.10), ("res2net34_base", 1.77)]
)
def test_multiply_adds_equal_the_published_ones(name, published):
    counted = table.cost(name, 2.0).multiply_adds / 1e9
    assert 0.96 * published < counted < published + 0.005


def test_cost_of_the_x_vector_equals_a_count_by_hand():
    counted = table.cost("xvector", 2.0)
    shapes = [(196, 5 * 80, 512), (192, 3 * 512, 512), (186, 3 * 512, 512), (186, 512, 512), (186, 512, 1500)]
    assert counted.multiply_adds == sum(frames * before * after for frames, before, after in shapes) + 3000 * 512
    assert counted.dim == 512


def test_embeddings_per_second_is_measured():
    calls = []

    class Network(nn.Module):
        def forward(self, features):
            calls.append(tuple(features.shape))
            return features.mean(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "build", lambda name: Network())
        speed = table.embeddings_per_second("redimnet_b0", 1.0, torch.device("cpu"), 3, at_least=0.0)
    assert speed > 0 and calls == [(3, 100, 60)] * 4


def test_unknown_name_is_rejected():
    with pytest.raises(InputError, match="did you mean 'resnet34'"):
        table.cost("resnet_34", 2.0)
