"""Training with `model.prune`: a resumed run is identical, and the model directory has the smaller encoder."""

from __future__ import annotations

import json

import pytest

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.models.gates import Gate
from spkver.recipe import train
from spkver.training.state import checkpoint

try:
    compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SETTINGS = {
    **{"model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 24, "vocab_size": 8, "feature_projection_input_dim": 160},
    **{"conv_depthwise_kernel_size": 5, "output_hidden_size": 16},
}


def test_pruned_run_resumes_to_the_bit_and_stores_a_smaller_encoder(recipe, tmp_path, killed):
    parts = recipe(
        front_end={"bins": 80},
        model={
            **{"name": "ssl", "encoder": json.dumps(SETTINGS), "tuned": "*", "network": {"name": "pooled", "dim": 6}},
            "prune": {"sparsity": 0.5, "warm_up": 0.0},
        },
        train={
            **{"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 5, "precision": "fp32"},
            "optimizer": {"name": "adamw", "lr": 1e-2},
            "lr_schedule": {"name": "constant"},
            "lr_factors": {"network.encoder.*.log_alpha": 300, "network.pruning": 300},
        },
    )
    train(parts, tmp_path / "a", say=lambda text: None)
    killed()
    train(parts, tmp_path / "b", resume=True, say=lambda text: None)
    one, other = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab")
    assert one == other
    encoder = Encoder.open(tmp_path / "a" / "model")
    assert encoder.config.model.prune is None
    assert not [part for part in encoder.modules() if isinstance(part, Gate)]
    assert min(encoder.config.model.widths.values()) < 24
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert any("penalty" in line for line in lines)
    tensors = checkpoint.read(tmp_path / "a" / "checkpoints" / "step-00000006").tensors
    (multipliers,) = (tensor for name, tensor in tensors.items() if name.endswith("network.pruning.multipliers"))
    assert multipliers.abs().min() > 0  # only the penalty moves them
