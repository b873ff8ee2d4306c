"""Random weights by formula, and models saved in the form in which other toolkits save them.

`python tests/interop/peers/originals.py FOLDER` computes `originals.json.gz` with the original code, cloned into FOLDER
(wespeaker, 3D-Speaker, redimnet2, voxceleb_trainer, NeMo, UniSpeech). The tests compare imported models with it.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import logging
import math
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

Embed = Callable[[torch.Tensor], torch.Tensor]
GOLDEN = Path(__file__).with_name("originals.json.gz")
SAMPLES = (9000, 20345)


def waveform(samples: int) -> np.ndarray:
    """Noise whose level varies."""
    noise = np.random.default_rng(samples).normal(0, 0.1, samples)
    return (noise * (0.2 + np.sin(np.arange(samples) / 900) ** 2)).astype(np.float32)


def weights(name: str, shape: list[int]) -> torch.Tensor:
    """Random weights that depend only on the name and the shape of a tensor."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if name.endswith("running_var"):
        return torch.from_numpy(draw.uniform(0.5, 2, shape)).float()
    if name.endswith("weight") and len(shape) == 1:
        return torch.from_numpy(draw.uniform(0.5, 1.5, shape)).float()
    scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 and not name.endswith(".w") else 0.1
    return torch.from_numpy(draw.normal(0, scale, shape)).float()


def save(case: dict[str, Any], folder: Path) -> Path:
    """Write the model of a case as its toolkit does. Returns what to import."""
    state = {name: weights(name, shape) for name, shape in case["tensors"].items()}
    return FORMS[case["form"]](state, case["config"], folder)


def _wespeaker(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    torch.save({**state, "projection.weight": torch.zeros(3, 4)}, folder / "avg_model.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def _checkpoint(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def _trainer(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    return _checkpoint({"model_state_dict": state | {"__L__.W": torch.zeros(2)}, "epoch": 3}, config, folder)


def _redimnet(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    return _checkpoint({"model_config": config, "state_dict": state}, config, folder)


def _nemo(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    stream = io.BytesIO()
    torch.save(
        state | {"decoder.final.weight": torch.zeros(3, 8), "preprocessor.featurizer.fb": torch.zeros(1)}, stream
    )
    members = {"./model_config.yaml": yaml.safe_dump(config).encode(), "./model_weights.ckpt": stream.getvalue()}
    with tarfile.open(folder / "titanet.nemo", "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / "titanet.nemo"


def _unispeech(state: dict[str, torch.Tensor], config: Any, folder: Path) -> Path:
    unused = {"loss_calculator.projection.weight", "feature_extract.model.label_embs_concat"}
    return _checkpoint({"model": state | dict.fromkeys(unused, torch.zeros(3, 4))}, config, folder)


FORMS: dict[str, Callable[[dict[str, torch.Tensor], Any, Path], Path]] = {
    "wespeaker": _wespeaker,
    "checkpoint": _checkpoint,
    "redimnet": _redimnet,
    "nemo": _nemo,
    "voxceleb_trainer": _trainer,
    "unispeech": _unispeech,
}


# --- with the original code -------------------------------------------------------------------------------------------


def main(clones: Path) -> None:
    """Compute the golden values."""
    cases = {}
    for make in (wespeaker_cases, threed_cases, trainer_cases, redimnet2_cases, nemo_cases, unispeech_cases):
        for name, (form, config, network, embed, options) in make(clones).items():
            cases[name] = case_of(form, config, network, embed) | {"options": options}
            print(name, len(cases[name]["tensors"]), cases[name]["embeddings"][0][:3], flush=True)
    content = json.dumps(cases, separators=(",", ":")).encode()
    GOLDEN.write_bytes(gzip.compress(content, 9, mtime=0))
    print(GOLDEN, GOLDEN.stat().st_size, "bytes")


def case_of(
    form: str, config: Any, network: nn.Module, embed: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """Set the weights of the network and compute embeddings."""
    kept = [name for name, _ in [*network.named_parameters(), *network.named_buffers()] if _random(name)]
    state = network.state_dict()
    tensors = {name: list(state[name].shape) for name in kept if name in state}
    network.load_state_dict({**state, **{name: weights(name, shape) for name, shape in tensors.items()}})
    network.eval()
    with torch.inference_mode():
        found = [embed(torch.from_numpy(waveform(samples))).flatten().tolist() for samples in SAMPLES]
    return {
        "form": form,
        "config": config,
        "tensors": tensors,
        "embeddings": [[float(f"{x:.7g}") for x in v] for v in found],
    }


def _random(name: str) -> bool:
    """Not a buffer of a spectrogram."""
    return not any(part in name for part in ("torchfb", "spec.", "featurizer", "spectrogram"))


def package(name: str, root: Path) -> None:
    """Make modules below a folder importable without running the `__init__` of their package."""
    for key in [key for key in sys.modules if key.split(".")[0] == name.split(".")[0]]:
        del sys.modules[key]
    parts = name.split(".")
    for number in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:number]))
        module.__path__ = [str(root.joinpath(*parts[:number]))]
        sys.modules[module.__name__] = module


def fbank(samples: torch.Tensor, **options: Any) -> torch.Tensor:
    """torchaudio's fbank without its mean, (1, frames, bins)."""
    from spkver import compat

    compat.torchaudio()
    kaldi = importlib.import_module("torchaudio.compliance.kaldi")
    features = kaldi.fbank(samples[None], **{"num_mel_bins": 80, **options})
    return (features - features.mean(dim=0))[None]


def last(out: Any) -> torch.Tensor:
    """The embedding among the outputs of a network."""
    return out[-1] if isinstance(out, tuple) else out


def _hamming(samples: torch.Tensor) -> torch.Tensor:
    return fbank(samples[0] * 32768, window_type="hamming")


def wespeaker_cases(clones: Path) -> dict[str, Any]:
    """Networks of WeSpeaker, with small sizes where they have arguments for them."""
    package("wespeaker.models", clones / "wespeaker")
    wanted_too = sys.modules["wespeaker"], sys.modules["wespeaker.models"]
    package("wespeaker.frontend", clones / "wespeaker")
    sys.modules["wespeaker"], sys.modules["wespeaker.models"] = wanted_too
    wanted = {
        "TSDP": ("tdnn", "XVEC", {"hid_dim": 8, "stats_dim": 16, "pooling_func": "TSDP"}),
        "MHASTP": ("tdnn", "XVEC", {"hid_dim": 8, "stats_dim": 16, "pooling_func": "MHASTP"}),
        "MQMHASTP": ("tdnn", "XVEC", {"hid_dim": 8, "stats_dim": 16, "pooling_func": "MQMHASTP"}),
        "MQMHASTP of a ResNet": ("resnet", "ResNet18", {"pooling_func": "MQMHASTP"}),
        "CAM++ of growth 8": ("campplus", "CAMPPlus", {"growth_rate": 8, "bn_size": 2, "init_channels": 16}),
        "Gemini DF-ResNet": ("gemini_dfresnet", "Gemini_DF_ResNet60", {"two_emb_layer": True}),
        "ReDimNet2": ("redimnet2", "ReDimNet2B0", {"feat_dim": 72}),
        "RepVGG": ("repvgg", "REPVGG_TINY_A0", {}),
        "RepVGG, folded": ("repvgg", "REPVGG_TINY_A0", {"deploy": True}),
        "RepVGG, RSBB with gates": ("repvgg", "REPVGG_TINY_RSBB_A0", {"use_se": True}),
    }
    cases = {}
    for name, (file, network, more) in wanted.items():
        arguments = {"feat_dim": 80, "embed_dim": 16, **more}
        theirs = getattr(importlib.import_module(f"wespeaker.models.{file}"), network)(**arguments)
        dataset: dict[str, Any] = {"fbank_args": {"num_mel_bins": 80, "dither": 1.0}, "resample_rate": 16000}
        features = _hamming
        if file == "redimnet2":
            sizes = {"n_mels": 72, "norm_signal": True, "eps": 1e-8}
            dataset = {"frontend": "tfmel", "tfmel_args": sizes, "cmvn": False, "resample_rate": 16000}
            features = importlib.import_module("wespeaker.frontend.tfmel").TFMelBanks(**sizes).eval()
            theirs.spec = None
        config = {"model": network, "model_args": arguments, "dataset_args": dataset}

        def embed(samples: torch.Tensor, theirs: nn.Module = theirs, features: Embed = features) -> torch.Tensor:
            return last(theirs(features(samples[None])))

        cases[f"WeSpeaker's {name}"] = ("wespeaker", config, theirs, embed, {})
    return cases


def threed_cases(clones: Path) -> dict[str, Any]:
    """The x-vector of 3D-Speaker, and ERes2Net with the blocks of its largest release (ERes2Net_huge)."""
    package("speakerlab.models.eres2net", clones / "3D-Speaker")
    package("speakerlab.models.xvector", clones / "3D-Speaker")
    sys.modules["speakerlab.models.eres2net"] = ModuleType("speakerlab.models.eres2net")
    sys.modules["speakerlab.models.eres2net"].__path__ = [str(clones / "3D-Speaker/speakerlab/models/eres2net")]
    tdnn = importlib.import_module("speakerlab.models.xvector.TDNN")
    theirs = tdnn.Xvector(feat_dim=80, hid_dim=8, stats_dim=16, embed_dim=12)

    def embed(samples: torch.Tensor) -> torch.Tensor:
        return theirs(fbank(samples))

    huge = importlib.import_module("speakerlab.models.eres2net.ERes2Net_huge").ERes2Net(m_channels=8, embedding_size=12)

    def embed_huge(samples: torch.Tensor) -> torch.Tensor:
        return huge(fbank(samples))

    return {
        "3D-Speaker's x-vector": ("checkpoint", None, theirs, embed, {"toolkit": "3dspeaker"}),
        "3D-Speaker's ERes2Net-huge": ("checkpoint", None, huge, embed_huge, {}),
    }


def trainer_cases(clones: Path) -> dict[str, Any]:
    """ResNetSE34L of voxceleb_trainer with both poolings."""
    from spkver import compat

    compat.torchaudio()
    package("models", clones / "voxceleb_trainer")
    cases = {}
    for pooling in ("SAP", "ASP"):
        module = importlib.import_module("models.ResNetSE34L")
        blocks = importlib.import_module("models.ResNetBlocks").SEBasicBlock
        theirs = nn.Module()
        theirs.__S__ = module.ResNetSE(blocks, [3, 4, 6, 3], [8, 12, 16, 20], 12, encoder_type=pooling, n_mels=40)

        def embed(samples: torch.Tensor, theirs: Any = theirs) -> torch.Tensor:
            return theirs.__S__(samples[None])

        options = {"front_end": "voxceleb_trainer_fast"}
        cases[f"voxceleb_trainer's ResNetSE34L ({pooling})"] = ("voxceleb_trainer", None, theirs, embed, options)
    return cases


def redimnet2_cases(clones: Path) -> dict[str, Any]:
    """ReDimNet2 with the options of its releases, in a small size."""
    from spkver import compat

    compat.torchaudio()
    package("redimnet2.layers", clones / "redimnet2")
    wrap = importlib.import_module("redimnet2.redimnet2").ReDimNet2Wrap
    stages = [
        ((1, 1), 1, 2, [(3, 3)], 4),
        ((2, 1), 1, 1, [(3, 3)], None),
        ((1, 2), 1, 0.75, [(3, 5)], 8),
        ((3, 2), 1, 1, [(3, 3)], 8),
    ]
    spectrum = {"do_spec_aug": False, "norm_signal": True, "do_preemph": True}
    base = {"F": 24, "C": 4, "stages_setup": stages, "embed_dim": 8, "causal": "none", "spec_params": spectrum}
    cases = {}
    for name, more in {
        "signal": {"out_channels": 6, "feat_type": "tf"},
        "plane": {"return_2d_output": True, "feat_type": "tf", "compress_tconvs": False},
        "both": {"return_2d_output": True, "out_channels": 5, "dual_agg": True, "agg_gnorm": True, "feat_type": "pt"},
        "gates": {"block_2d_type": "basic_resnet_fwse", "feat_type": "pt", "agg_gnorm": True},
        "convnext": {"block_2d_type": "convnext_like", "feat_type": "pt", "stages_setup": [stages[0], stages[1]]},
    }.items():
        config = {**base, **more}
        theirs = wrap(**config)

        def embed(samples: torch.Tensor, theirs: nn.Module = theirs) -> torch.Tensor:
            return theirs(samples[None])

        cases[f"ReDimNet2, {name}"] = ("redimnet", config, theirs, embed, {})
    return cases


class _Stub(ModuleType):
    """A module of which any attribute is a class without methods."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        off = {key: lambda *arguments: False for key in ("is_access_enabled", "is_adapter_available")}
        return type(name, (), off)


def nemo_cases(clones: Path) -> dict[str, Any]:
    """TitaNet, made of NeMo's blocks, pooling and features; its other imports are replaced."""
    from spkver import compat

    compat.torchaudio()
    root = clones / "NeMo"
    for name in ("parts.submodules", "parts.preprocessing"):
        kept = {key: module for key, module in sys.modules.items() if key.split(".")[0] == "nemo"}
        package(f"nemo.collections.asr.{name}", root)
        sys.modules.update(kept)
    for name in ("common.parts.utils", "asr.parts.preprocessing.perturb", "asr.parts.preprocessing.segment"):
        sys.modules[f"nemo.collections.{name}"] = _Stub(name)
    for name in ("core", "core.classes", "core.classes.mixins", "core.classes.mixins.adapter_mixins", "utils"):
        sys.modules[f"nemo.{name}"] = _Stub(name)
    sys.modules["nemo.utils"].logging = logging
    start = "nemo.collections.asr.parts."
    jasper = importlib.import_module(f"{start}submodules.jasper")
    attention = importlib.import_module(f"{start}submodules.tdnn_attention")
    features = importlib.import_module(f"{start}preprocessing.features")
    featurizer = features.FilterbankFeatures(16000, 400, 160, nfilt=80, n_fft=512).eval()
    blocks, before, stages = [], 80, []
    for after, kernel, repeat, residual in ((8, 3, 1, False), (8, 7, 3, True), (8, 11, 3, True), (12, 1, 1, False)):
        options = {"separable": True, "se": True, "se_reduction_ratio": 8, "conv_mask": True, "stride": [1]}
        more = {"dilation": [1], "kernel_size": [kernel], "activation": nn.ReLU(), "residual": residual}
        blocks.append(jasper.JasperBlock(before, after, repeat=repeat, dropout=0.1, **options, **more))
        stages.append({"filters": after, "repeat": repeat, "kernel": [kernel], "stride": [1], "dilation": [1]})
        before = after
    theirs = nn.Module()
    theirs.encoder, theirs.decoder = nn.Module(), nn.Module()
    theirs.encoder.encoder = nn.Sequential(*blocks)
    theirs.decoder._pooling = attention.AttentivePoolLayer(12, 6)
    theirs.decoder.emb_layers = nn.ModuleList([nn.Sequential(nn.BatchNorm1d(24), nn.Conv1d(24, 8, 1))])

    def embed(samples: torch.Tensor) -> torch.Tensor:
        x, lengths = featurizer(samples[None].clone(), torch.tensor([len(samples)]))
        (x,), lengths = theirs.encoder.encoder(([x], lengths))
        return theirs.decoder.emb_layers[0](theirs.decoder._pooling(x, lengths))

    preprocessor = {"sample_rate": 16000, "window_size": 0.025, "window_stride": 0.01, "features": 80, "n_fft": 512}
    config = {"preprocessor": {**preprocessor, "normalize": "per_feature", "window": "hann"}}
    config["encoder"] = {"feat_in": 80, "jasper": stages}
    return {"NeMo's TitaNet": ("nemo", config, theirs, embed, {})}


class _Layers(nn.Module):
    """The hidden states of a WavLM, as s3prl collects them: the inputs of all layers, and the output of the encoder."""

    def __init__(self, model: nn.Module, normalise: bool) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, waveforms: list[torch.Tensor]) -> dict[str, Any]:
        layers: list[torch.Tensor] = []
        encoder: Any = self.model.encoder
        hooks = [
            layer.register_forward_hook(lambda _, inputs, __: layers.append(inputs[0].transpose(0, 1)))
            for layer in encoder.layers
        ]
        hooks.append(encoder.register_forward_hook(lambda _, __, outputs: layers.append(outputs[0])))
        batch = torch.stack([nn.functional.layer_norm(x, x.shape) if self.normalise else x for x in waveforms])
        self.model.extract_features(batch, padding_mask=torch.zeros(batch.shape, dtype=torch.bool))
        for hook in hooks:
            hook.remove()
        return {"hidden_states": layers}


def unispeech_cases(clones: Path) -> dict[str, Any]:
    """UniSpeech's ECAPA-TDNN on small WavLMs, one like base+ and one like large."""
    from spkver import compat

    compat.torchaudio()
    sys.path.insert(0, str(clones / "UniSpeech" / "WavLM"))
    wavlm = importlib.import_module("WavLM")
    package("models", clones / "UniSpeech" / "downstreams" / "speaker_verification")
    sys.modules["models.utils"] = _Stub("models.utils")
    ecapa = importlib.import_module("models.ecapa_tdnn")
    cases = {}
    for name, heads, more in (
        ("base+", 2, {"extractor_mode": "default", "layer_norm_first": False, "normalize": False}),
        ("large", 4, {"extractor_mode": "layer_norm", "layer_norm_first": True, "normalize": True}),
    ):
        sizes = {"encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24}
        rest = {"encoder_layerdrop": 0.0, "relative_position_embedding": True, "gru_rel_pos": True, "max_distance": 800}
        convolutions = {"conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2", "num_buckets": 320}
        config = {**sizes, **rest, **convolutions, "encoder_attention_heads": heads, **more}
        layers = _Layers(wavlm.WavLM(wavlm.WavLMConfig(config)), bool(more["normalize"]))
        torch.hub.load = lambda *arguments, layers=layers: layers
        theirs = ecapa.ECAPA_TDNN(feat_dim=16, channels=16, emb_dim=8, feat_type="wavlm")

        def embed(samples: torch.Tensor, theirs: nn.Module = theirs) -> torch.Tensor:
            return theirs(samples[None])

        cases[f"UniSpeech's ECAPA-TDNN on WavLM {name}"] = ("unispeech", None, theirs, embed, {})
    return cases


if __name__ == "__main__":
    main(Path(sys.argv[1]))
