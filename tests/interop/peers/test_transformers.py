"""Compare the imported x-vector heads with those of transformers, with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.interop.peers import guess, import_model

try:
    transformers = compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 4, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": (12, 12, 14),
    "tdnn_kernel": (5, 3, 1),
    "tdnn_dilation": (1, 2, 1),
    "xvector_output_dim": 6,
    "num_labels": 3,
}


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("wavlm", {"use_weighted_layer_sum": True}),
        ("wavlm", {"use_weighted_layer_sum": False}),
        # a weighted sum of such layers is compared in test_unispeech: transformers 5 sums others than version 4 did
        ("wav2vec2", {"use_weighted_layer_sum": False, "feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    ],
)
def test_imported_head_gives_the_embeddings_of_transformers(kind, fields, form, tmp_path):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SMALL, **fields)
    theirs = transformers.AutoModelForAudioXVector.from_config(config).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("layer_weights") or "bias" in name:
            nn.init.normal_(parameter)
        elif name.startswith(("projector", "tdnn", "feature_extractor")):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    folder = tmp_path / "theirs"
    theirs.save_pretrained(folder)
    if form == "bin":  # as older versions wrote it
        old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        state = theirs.state_dict()
        for new, name in old.items():
            state = {key.replace(new, name): value for key, value in state.items()}
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    normalised = kind == "wav2vec2"
    if not normalised:
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    assert guess(folder) == "transformers"
    import_model(folder, tmp_path / "ours")
    encoder = Encoder.open(tmp_path / "ours")
    for samples in (8000, 12345):
        waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        given = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7) if normalised else waveform
        with torch.inference_mode():
            expected = theirs(torch.from_numpy(given)[None]).embeddings[0].numpy()
        assert np.abs(encoder.embed(waveform) - expected).max() < 1e-5 * np.abs(expected).max()


def test_other_models_of_transformers_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm", "architectures": ["WavLMForCTC"]}))
    with pytest.raises(InputError, match="only the x-vector heads of wavlm, wav2vec2"):
        import_model(tmp_path, tmp_path / "ours", "transformers")
    with pytest.raises(InputError, match="the toolkit was not recognised"):
        import_model(tmp_path, tmp_path / "ours")
