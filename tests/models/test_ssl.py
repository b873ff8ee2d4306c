"""Self-supervised encoders, tested with tiny ones with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spkver import compat
from spkver.config import load, save, validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError

try:
    transformers = compat.transformers()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 8}
WAVEFORM = {
    **SIZES,
    "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4],
    "conv_kernel": [10, 8, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
BERT = {**SIZES, "feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5, "output_hidden_size": 16}
ENCODERS = {
    "wavlm": (WAVEFORM, "waveform"),
    "wav2vec2": (WAVEFORM, {"name": "waveform", "normalise": "mean_variance"}),
    "hubert": (WAVEFORM, "waveform"),
    "wav2vec2-bert": (BERT, "w2v_bert"),
}


def build(kind="wavlm", **fields):
    settings, front_end = ENCODERS[kind]
    model = {"name": "ssl", "network": {"name": "pooled", "dim": "6"}, **fields}
    if "source" not in fields:
        model["encoder"] = json.dumps({"model_type": kind, **settings})
    torch.manual_seed(0)
    return Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model}))


def noise(samples=8000, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def published(folder, kind="wavlm", seed=3):
    """A folder in the format of the hub."""
    torch.manual_seed(seed)
    settings = transformers.AutoConfig.for_model(kind, **ENCODERS[kind][0])
    theirs = transformers.AutoModel.from_config(settings).eval()
    theirs.save_pretrained(folder)
    return theirs


def test_projected_model_opens_without_the_source(tmp_path):
    """The model directory contains the configuration of the encoder."""
    published(tmp_path / "theirs")
    inner = {"name": "ssl", "source": str(tmp_path / "theirs"), "network": {"name": "pooled", "dim": "6"}}
    tree = {"front_end": "waveform", "model": {"name": "projected", "network": inner, "dim": "3"}}
    encoder = Encoder(validate(EncoderConfig, tree)).eval()
    encoder.save(tmp_path / "ours")
    (tmp_path / "theirs").rename(tmp_path / "gone")
    opened = Encoder.open(tmp_path / "ours")
    assert opened.whole_seconds == 60 and opened.min_samples == encoder.min_samples
    np.testing.assert_array_equal(opened.embed(noise()), encoder.embed(noise()))


@pytest.mark.parametrize("kind", ENCODERS)
def test_shortest_recording_is_embedded_and_a_shorter_one_rejected(kind):
    encoder = build(kind).eval()
    least = encoder.min_samples
    assert encoder.embed(noise(least)).shape == (6,)
    assert encoder.whole_seconds == 60
    with pytest.raises(InputError, match="short"):
        encoder.embed(noise(least - 1))
    waveforms = np.stack([noise(6000, seed) for seed in range(3)])
    one_by_one = np.stack([encoder.embed(row) for row in waveforms])
    np.testing.assert_allclose(encoder.embed_batch(waveforms), one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2", "hubert"])
@pytest.mark.parametrize("network", [{"name": "pooled", "dim": "6"}, {"name": "xvector", "channels": "8", "dim": "6"}])
def test_min_frames_is_exact(kind, network):
    """With one sample less, the encoder returns one frame too few for the network."""
    encoder = build(kind, network=network)
    count, least = encoder.network.encoder._get_feat_extract_output_lengths, encoder.network.min_frames
    frames = encoder.network.network.min_frames
    assert (int(count(torch.tensor(least))), int(count(torch.tensor(least - 1)))) == (frames, frames - 1)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("tuned", [(), ("encoder.layers.2",), "*"])
def test_gradients_reach_only_tuned_parameters(kind, tuned):
    encoder = build(kind, tuned=tuned).train()
    out = encoder(torch.from_numpy(np.stack([noise(seed=seed) for seed in range(4)])))
    (out * torch.randn(out.shape)).sum().backward()
    reached = {name for name, value in encoder.network.named_parameters() if value.grad is not None}
    own = {name for name, _ in encoder.network.named_parameters() if not name.startswith("encoder.")}
    theirs = {name for name in reached if name.startswith("encoder.")}
    assert own <= reached and all(value.grad.isfinite().all() for value in encoder.parameters() if value.requires_grad)
    if tuned == ():
        assert not theirs and not encoder.network.encoder.training
    elif tuned == "*":
        last = ("masked_spec_embed",)
        everything = {f"encoder.{name}" for name, _ in encoder.network.encoder.named_parameters() if name not in last}
        assert theirs == everything
    else:
        assert theirs and all(name.startswith("encoder.encoder.layers.2.") for name in theirs)


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2-bert"])
def test_encoder_is_loaded_from_a_folder(kind, tmp_path):
    theirs = published(tmp_path / "theirs", kind)
    encoder = build(kind, source=str(tmp_path / "theirs")).eval()
    waveform = noise()
    features = encoder.front_end(torch.from_numpy(waveform)[None])
    with torch.inference_mode():
        if kind == "wavlm":
            layers = theirs(torch.from_numpy(waveform)[None], output_hidden_states=True).hidden_states
        else:
            even = features[:, : features.shape[1] // 2 * 2]
            layers = theirs(even.reshape(1, -1, 160), output_hidden_states=True).hidden_states
        expected = encoder.network.network(torch.stack(layers).mean(dim=0))[0]  # equal weights before training
    np.testing.assert_allclose(encoder.embed(waveform), expected.numpy(), rtol=1e-5, atol=1e-6)
    # a model directory opens without the source
    encoder.save(tmp_path / "model")
    for file in (tmp_path / "theirs").iterdir():
        file.unlink()
    again = Encoder.open(tmp_path / "model")
    assert np.array_equal(again.embed(waveform), encoder.embed(waveform))
    save(again.config, tmp_path / "config.yaml")
    assert load(EncoderConfig, tmp_path / "config.yaml") == again.config


def test_front_end_gives_the_features_of_w2v_bert():
    """Up to a constant factor, because it divides by frames - 1; the following layer norm removes the factor."""
    extractor = transformers.SeamlessM4TFeatureExtractor()
    waveform = noise(16000)
    theirs = np.asarray(extractor(waveform, sampling_rate=16000)["input_features"][0])
    mine = build("wav2vec2-bert").front_end(torch.from_numpy(waveform)[None])[0].numpy()
    frames = len(mine) // 2 * 2
    assert len(mine) == 98
    mine = mine[:frames].reshape(-1, 160) * np.sqrt((len(mine) - 1) / len(mine))
    np.testing.assert_allclose(mine, theirs[: frames // 2], atol=2e-3)


def test_other_network_on_the_frames_of_an_encoder():
    network = {"name": "ecapa_tdnn", "channels": "16", "aggregated": "12", "se_hidden": "4", "dim": "5"}
    encoder = build(network=network).eval()
    assert encoder.embed(noise()).shape == (5,) and encoder.network.min_frames > 5 * 5 * 4 * 4
    assert encoder.embed(noise(encoder.min_samples)).shape == (5,)


def test_half_precision_is_close():
    encoder = build().eval()
    expected = torch.from_numpy(encoder.embed(noise()))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = encoder(torch.from_numpy(noise())[None])[0]
    assert half.isfinite().all() and torch.cosine_similarity(half, expected, dim=0) > 0.99


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "nowhere/at-all-of-this"}, "no such folder, so the hub was asked"),
        ({"source": "", "encoder": ""}, "give a source"),
        ({"encoder": '{"model_type": "bert"}'}, "a bert is not one of wavlm"),
        ({"encoder": "{"}, "model.encoder: the encoder cannot be opened"),
        ({"tuned": ("encoder.layer.2",)}, r"'encoder\.layer\.2' matches no parameter; known: .*encoder\.layers\.2"),
    ],
)
def test_invalid_encoder_is_rejected(fields, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "encoder" in fields:
        fields = {"source": "", **fields}
    with pytest.raises(InputError, match=said):
        build(**fields)


def test_unsuitable_front_end_is_rejected():
    encoder = json.dumps({"model_type": "wavlm", **WAVEFORM})
    with pytest.raises(InputError, match="a wavlm takes 1 values per frame, not 80: `front_end: waveform`"):
        Encoder(validate(EncoderConfig, {"model": {"name": "ssl", "encoder": encoder}}))
