"""Training with a self-supervised encoder: frozen, and with one of its layers trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.features.waveform import WaveformConfig
from spkver.models.ssl import SslConfig, SslNetwork
from spkver.recipe import Recipe, train

try:
    compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

WAVLM = {
    **{"model_type": "wavlm", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 8},
    **{"intermediate_size": 16, "conv_dim": [8, 8], "conv_stride": [5, 8], "conv_kernel": [10, 8]},
    **{"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
}


@pytest.mark.parametrize("tuned", [(), ("encoder.layers.1.feed_forward",)])
def test_only_tuned_layers_change(tuned: tuple[str, ...], recipe: Callable[..., Recipe], out: Path) -> None:
    model = SslConfig(encoder=json.dumps(WAVLM), tuned=tuned, network={"name": "pooled", "dim": "6"})
    settings = recipe().model_copy(update={"model": model, "front_end": WaveformConfig(sample_rate=8000)})
    torch.manual_seed(settings.seed)
    before = SslNetwork(model, 1).state_dict()
    train(settings, out, say=lambda _: None)
    after = Encoder.open(out / "model").network.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    theirs = {name for name in moved if name.startswith("encoder.")}
    assert "weights" in moved and "network.linear.weight" in moved
    assert bool(theirs) == bool(tuned)
    assert all(name.startswith("encoder.encoder.layers.1.feed_forward.") for name in theirs)
