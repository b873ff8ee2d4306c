from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError, RunError
from spkver.export import checking
from spkver.export.checking import Agreement, agreement, voice
from spkver.export.onnx import OnnxExport, of_features, running, trace, trace_network
from spkver.features import FRONT_ENDS
from spkver.features.graph import graph
from spkver.models import MODELS, POOLINGS, campplus, preact_resnet, res2net, resnet
from spkver.runtime import session

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

POOLED_FRAMES = {"name": "pooled", "dim": 6}
XVECTOR = {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 6}
TRUNKS = {
    "xvector": {**XVECTOR, "layers_after_pooling": 2},
    "extended": {**XVECTOR, "frame_layers": "extended"},
    "resnet": {"name": "resnet", "depth": 18, "channels": 2, "dim": 6},
    "bottleneck, se": {"name": "resnet", "depth": 50, "channels": 2, "dim": 6, "attention": "se", "reduction": 2},
    "simam": {"name": "resnet", "depth": 18, "channels": 2, "dim": 6, "attention": "simam"},
    "res2net": {"name": "res2net", "channels": 4, "scale": 3, "dim": 6},
    "eres2net": {"name": "eres2net", "channels": 4, "dim": 6},
    "eres2netv2": {"name": "eres2net", "channels": 4, "fused": "last", "dim": 6},
    "ecapa_tdnn": {"name": "ecapa_tdnn", "channels": 8, "aggregated": 8, "se_hidden": 4, "dim": 6},
    "ecapa_tdnn, reflected": {
        **{"name": "ecapa_tdnn", "channels": 8, "aggregated": 8, "se_hidden": 4, "dim": 6},
        **{"padding": "reflect", "aggregation_norm": True, "sum_inputs": False, "goes_by": "last"},
    },
    "campplus": {"name": "campplus", "front_channels": 2, "channels": 8, "growth": 2, "bottleneck": 8, "dim": 6},
    "redimnet": {"name": "redimnet", "channels": 4, "stages": ((1, 1, 1, 0), (2, 1, 2, 20)), "dim": 6},
    "redimnet, resnet": {
        **{"name": "redimnet", "channels": 4, "stages": ((2, 1, 1, 20),), "dim": 6},
        **{"blocks": "resnet_se", "group": 1},
    },
    "xvector, reflected": {**XVECTOR, "padding": "reflect", "activation": "leaky_relu", "embedding_norm": False},
    "resnet, two layers": {
        **{"name": "resnet", "depth": 18, "channels": 4, "dim": 6, "layers_after_pooling": 2},
        **{"order": "relu_norm", "pooling": "mean"},
    },
    "preact_resnet": {"name": "preact_resnet", "channels": (2, 2, 4, 4), "dim": 6},
    "pooled": POOLED_FRAMES,
    "projected": {"name": "projected", "network": {"name": "pooled", "dim": 6}, "dim": 4},
    **yaml.safe_load((Path(__file__).parents[1] / "networks.yaml").read_text()),
    "mean_fbank": {"name": "mean_fbank"},
}
POOLED = {name: {} for name in POOLINGS} | {
    "statistics": {"unbiased": True},
    "attentive_statistics": {"context": True, "activation": "relu_norm_tanh"},
    "self_attentive": {"heads": 2},
    "xi_vector": {"deviation": True},
}
# a few blocks of each kind: tracing takes a second per hundred layers
SHORT = {
    (campplus, "BLOCKS"): ((1, 1), (2, 2), (1, 2)),
    (preact_resnet, "BLOCKS"): (1, 1, 1, 1),
    (res2net, "BLOCKS"): (1, 1, 1, 1),
    (resnet, "BLOCKS"): {18: (resnet.BasicBlock, (1, 1, 1, 1)), 50: (resnet.Bottleneck, (1, 1, 1, 1))},
}
NETWORKS = TRUNKS | {name: {**XVECTOR, "pooling": {"name": name, **more}} for name, more in POOLED.items()}
SHORTEST = {  # number of frames of the shortest input, and the networks
    1: ("redimnet", "redimnet, resnet", "pooled", "projected", "mean_fbank"),
    2: ("campplus", "redimnet2", "df_resnet", "titanet"),
    4: ("xvector, reflected", "redimnet2, signal", "fast_resnet"),
    5: ("ecapa_tdnn", "ecapa_tdnn, reflected"),
    8: (
        *("resnet", "bottleneck, se", "simam", "res2net", "eres2net", "eres2netv2", "resnet, two layers"),
        *("preact_resnet", "repvgg", "repvgg, folded", "repvgg, dilated"),
    ),
    9: ("tdnn_head",),
    15: ("xvector", *POOLED),
    23: ("extended",),
}


def made(model=POOLED_FRAMES, front_end=None):
    torch.manual_seed(0)
    encoder = Encoder(validate(EncoderConfig, {"model": model, "front_end": front_end or {}}))
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    encoder.model_id = "m" * 32
    return encoder.eval()


def short(monkeypatch, frames):
    """Check only the shortest length and lengths this many frames longer."""
    monkeypatch.setattr(checking, "FRAMES", frames)
    monkeypatch.setattr(checking, "SECONDS", ())


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def export(encoder, path, **options):
    return OnnxExport(validate(OnnxExport.Config, options)).write(encoder, path)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Use one thread: networks this small are slower with several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_network_is_tested():
    assert {model["name"] for model in TRUNKS.values()} == set(MODELS) - {"ssl"}  # below
    assert sorted(sum(SHORTEST.values(), ())) == sorted(NETWORKS)


class Together(nn.Module):
    """The embeddings of several networks, side by side: one export for all of them takes less time."""

    def __init__(self, networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, features):
        return torch.cat([network(features) for network in self.networks], dim=1)


@pytest.mark.parametrize("least", SHORTEST)
def test_onnx_export_agrees_with_pytorch_at_every_length(least, monkeypatch):
    """From the shortest length, and around CAM++'s segments of 100 frames; none is the traced length."""
    short(monkeypatch, (1, 2, 99, 203))
    for place, value in SHORT.items():
        monkeypatch.setattr(*place, value)
    plain = {"normalise": "none"}  # the mean would be the embedding of mean_fbank
    encoders = {name: made(NETWORKS[name], plain if name == "mean_fbank" else {}) for name in SHORTEST[least]}
    together = Together([of_features(encoder) for encoder in encoders.values()]).eval()
    run = running(trace_network(together, torch.randn(2, 300, 80)).SerializeToString(), threads=1)
    start = 0
    for name, encoder in encoders.items():
        assert encoder.network.min_frames == least, name
        own = slice(start, start + encoder.dim)
        found = agreement(encoder, lambda features, own=own: run(features)[:, own], "features")
        assert found.lengths == 6 and found.error < 1e-5, f"{name}: {found}"
        start = own.stop


def test_onnx_export_of_a_self_supervised_encoder(monkeypatch):
    """From a length without a whole piece of 20 ms. One attention has lost a head, the other is whole."""
    pytest.importorskip("transformers")
    short(monkeypatch, (1, 400, 7001))
    settings = {"model_type": "wavlm", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings |= {"intermediate_size": 16, "conv_dim": [8, 8], "conv_stride": [5, 64], "conv_kernel": [10, 64]}
    settings |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    model = {"name": "ssl", "network": {"name": "pooled", "dim": 6}, "encoder": json.dumps(settings)}
    model |= {"heads": {"encoder.layers.0.attention": [1]}}
    encoder = made(model, "waveform")
    found = agreement(encoder, running(trace(encoder, "waveform").SerializeToString(), threads=1), "waveform")
    assert found.error < 1e-5


def test_onnx_export_of_an_unsupported_network_is_a_one_line_error():
    class Decides(nn.Module):
        def forward(self, x):
            return x.mean(dim=1) if x.sum() > 0 else x.amax(dim=1)

    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, 30 * 8)

    for network, said in ((Decides(), "data-dependent"), (Fixed(), "constant")):
        with pytest.raises(RunError, match=f"PyTorch cannot export this network: .*{said}"):
            trace_network(network, torch.randn(2, 30, 8))


def test_an_exported_network_that_fails_is_a_one_line_error():
    def exported(features):
        raise ValueError("a node\nfails")

    with pytest.raises(RunError, match="the exported model fails on a batch of 1, 3 frames: a node fails"):
        agreement(made(), exported, "features")


@pytest.mark.parametrize(
    "front_end",
    [
        *({}, "wespeaker", {"name": "telephone", "normalise": "mean_variance"}),
        *("speechbrain", {"name": "mel_spectrogram", "unit_variance": True, "high_hz": 8000}),
        *("voxceleb_trainer_linear", "rdino", {"vad": "energy"}, {"name": "mel_spectrogram", "vad": "energy"}),
    ],
    ids=["default", "wespeaker", "8 kHz", "speechbrain", "redimnet", "linear", "rdino", "vad", "redimnet vad"],
)
def test_onnx_export_with_the_front_end_agrees_with_pytorch(front_end):
    encoder = made(front_end=front_end)
    whole = running(trace(encoder, "waveform").SerializeToString(), threads=1)
    assert agreement(encoder, whole, "waveform").error < 2e-4


def test_onnx_export_by_the_command(tmp_path, monkeypatch):
    path = tmp_path / "x.onnx"
    encoder = made()
    said = export(encoder, path)
    assert "x.onnx: input features" in said[0] and "against PyTorch at 14 lengths: largest relative error" in said[1]
    assert "compatible with sherpa-onnx" in said[2]
    file = onnx.load(path)
    about = {pair.key: pair.value for pair in file.metadata_props}
    assert about.pop("comment") and about.pop("url") == ""
    assert json.loads(about.pop("spkver"))["model"] == "m" * 32
    assert about == {
        **{"framework": "wespeaker", "language": "unknown", "sample_rate": "16000", "output_dim": "6"},
        **{"normalize_samples": "0", "feature_normalize_type": ""},
    }
    onnx.checker.check_model(file, full_check=True)
    dims = [[dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in file.graph.input]
    assert (file.graph.input[0].name, dims) == ("feats", [["batch", "time", 80]])


def test_onnx_export_with_fewer_bits_is_smaller_and_close(tmp_path, monkeypatch):
    """A quantised front end would change the embeddings more than this test allows."""
    short(monkeypatch, (50,))
    traced = functools.cache(lambda encoder, kind: trace(encoder, kind).SerializeToString())
    monkeypatch.setattr("spkver.export.onnx.trace", lambda *given: onnx.load_model_from_string(traced(*given)))
    encoder = made({"name": "xvector", "channels": 128, "pooled_channels": 128, "dim": 32})
    sizes = {}
    for waveform in (False, True):
        for kind, cosine in (("float32", 0.999999), ("float16", 0.999999), ("int8", 0.999)):
            path = tmp_path / f"{kind}.onnx"
            said = export(encoder, path, weights=kind, waveform=waveform)
            assert f"{kind} weights" in said[0]
            sizes[waveform, kind] = path.stat().st_size
            found = agreement(encoder, running(path.read_bytes(), 1), "waveform" if waveform else "features")
            assert found.cosine > cosine
    for kind, share in (("float16", 0.6), ("int8", 0.4)):
        assert sizes[False, kind] < share * sizes[False, "float32"]
        saved, of_whole = (sizes[waveform, "float32"] - sizes[waveform, kind] for waveform in (False, True))
        assert saved == pytest.approx(of_whole, rel=0.02)  # front end unchanged


def test_onnx_export_that_disagrees_is_not_written(tmp_path, monkeypatch):
    short(monkeypatch, ())
    with pytest.raises(RunError, match=r"x\.onnx: not written: .*largest relative error.*above the tolerance 1e-12"):
        export(made(), tmp_path / "x.onnx", tolerance=1e-12)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1.01e-3])
def test_onnx_export_rejects_an_error_above_the_tolerance(error):
    form = OnnxExport(validate(OnnxExport.Config, {}))
    form._judge("x.onnx", Agreement(1e-3, 1.0, 3))
    with pytest.raises(RunError, match=r"above the tolerance 0\.001"):
        form._judge("x.onnx", Agreement(error, 1.0, 3))


@pytest.mark.parametrize(
    ("front_end", "said"),
    [
        ({"window": "hamming"}, "front_end.window hamming, sherpa-onnx computes povey"),
        ({"high_hz": 8000}, "front_end.high_hz 8000.0, sherpa-onnx computes 7600.0"),
        ("telephone", "front_end.bins 64, sherpa-onnx computes 80"),
        ({"normalise": "mean_variance"}, "front_end.normalise mean_variance, sherpa-onnx computes mean or none"),
        ("speechbrain", "front_end mel_spectrogram, sherpa-onnx computes fbank"),
        ({"scale": 2}, "front_end.scale 2.0, sherpa-onnx computes 32768.0 or 1.0"),
    ],
)
def test_onnx_export_omits_sherpa_metadata_when_the_front_end_differs(tmp_path, front_end, said, monkeypatch):
    encoder = made(front_end=front_end)
    with pytest.raises(InputError, match=said):
        export(encoder, tmp_path / "x.onnx", sherpa=True)
    short(monkeypatch, ())
    assert said in export(encoder, tmp_path / "x.onnx")[-1]
    # without the metadata sherpa-onnx rejects the file instead of computing other features
    assert [pair.key for pair in onnx.load(tmp_path / "x.onnx").metadata_props] == ["spkver"]


def test_detectors_that_a_file_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("spkver.features.vad.load_optional", lambda *_: None)
    for vad, options, said in (
        ("energy", {}, r"front_end.vad energy needs the waveform; export with --waveform"),
        ("silero", {}, "front_end.vad silero cannot be exported"),
        ("silero", {"waveform": True}, "front_end.vad silero cannot be exported"),
    ):
        with pytest.raises(InputError, match=said):
            export(made(front_end={"vad": vad}), tmp_path / "x.onnx", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["fbank", "wespeaker", "mel_spectrogram", "speechbrain", "waveform"])
def test_traced_front_end_agrees_at_any_length_and_batch_size(name):
    """With digital silence and without; also for the front end of a self-supervised encoder."""
    front_end = FRONT_ENDS.build(validate(EncoderConfig, {"front_end": name}).front_end).eval()
    example = torch.from_numpy(np.stack([voice(48000, 16000, row) for row in range(2)]))
    run = session(trace_network(graph(front_end), example, "waveform").SerializeToString(), threads=1)
    for batch, samples in ((1, 400), (1, 16001), (3, 50000)):
        waveform = np.stack([voice(samples, 16000, row) for row in range(batch)])
        waveform[-1, samples // 2 : samples * 3 // 4] = 0
        found = run.run(None, {"waveform": waveform})[0]
        np.testing.assert_allclose(found, front_end(torch.from_numpy(waveform)).numpy(), rtol=0, atol=5e-3)


SHERPA = """
import sys, numpy as np, sherpa_onnx
extractor = sherpa_onnx.SpeakerEmbeddingExtractor(sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=sys.argv[1]))
waveform = np.load(sys.argv[2])
stream = extractor.create_stream()
stream.accept_waveform(sample_rate=int(sys.argv[4]), waveform=waveform)
stream.input_finished()
np.save(sys.argv[3], np.array(extractor.compute(stream), np.float32))
"""


@pytest.mark.parametrize(
    "front_end",
    [{}, {"normalise": "none", "scale": 1}, {"name": "telephone", "bins": 80}],
    ids=["default", "no mean", "8 kHz"],
)
def test_sherpa_onnx_gives_the_same_embedding(tmp_path, front_end, monkeypatch):
    """In a separate process, because sherpa-onnx exits on errors."""
    pytest.importorskip("sherpa_onnx")
    short(monkeypatch, (50,))
    encoder = made(front_end=front_end)
    export(encoder, tmp_path / "x.onnx", sherpa=True)
    waveform = voice(3 * encoder.sample_rate + 123, encoder.sample_rate, seed=7)
    waveform[encoder.sample_rate : encoder.sample_rate * 3 // 2] = 0  # digital silence, removed there too
    np.save(tmp_path / "in.npy", waveform)
    paths = [str(tmp_path / name) for name in ("x.onnx", "in.npy", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", SHERPA, *paths, str(encoder.sample_rate)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = encoder.embed(waveform), np.load(tmp_path / "out.npy")
    assert cosine(ours, theirs) > 0.9999
    # an untrained network gives nearly equal embeddings for all voices, so compare differences between voices
    other = encoder.embed(voice(len(waveform), encoder.sample_rate, seed=8))
    assert cosine(ours - other, theirs - other) > 0.9999
