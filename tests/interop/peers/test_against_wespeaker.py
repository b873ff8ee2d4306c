"""Compare imported models with WeSpeaker's own networks with random weights. Needs its code:

pip install --no-deps wespeaker-unofficial==0.0.2
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.interop.peers import import_model

spec = importlib.util.find_spec("wespeaker")
if spec is None or spec.origin is None:
    pytest.skip("wespeaker is not installed", allow_module_level=True)

# name: (module file, model_args)
NETWORKS = {
    "XVEC": ("tdnn", {"hid_dim": 32, "stats_dim": 48}),
    "XI_VEC_XVEC": ("xi_vector", {}),
    "ECAPA_TDNN_c512": ("ecapa_tdnn", {"emb_bn": True}),
    "ECAPA_TDNN_GLOB_c512": ("ecapa_tdnn", {"pooling_func": "ASTP"}),
    "ResNet18": ("resnet", {"two_emb_layer": True, "pooling_func": "ASTP"}),
    "ResNet50": ("resnet", {"pooling_func": "TSTP"}),
    "SimAM_ResNet34_ASP": ("samresnet", {"in_planes": 16}),
    "CAMPPlus": ("campplus", {}),
    "ERes2Net34_Base": ("eres2net", {}),
    "Res2Net34_Base": ("res2net", {}),
    "ReDimNetB0": ("redimnet", {"feat_dim": 60}),
    "ReDimNetB1": ("redimnet", {"feat_dim": 72}),
}


@pytest.fixture(scope="module")
def models():
    """WeSpeaker's network modules, loaded one by one, because its package imports much more."""
    root = Path(spec.origin).parent
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "wespeaker"}
    for name, path in (("wespeaker", root), ("wespeaker.models", root / "models")):
        package = ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    yield lambda file: importlib.import_module(f"wespeaker.models.{file}")
    for name in [name for name in sys.modules if name.split(".")[0] == "wespeaker"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.mark.parametrize("name", NETWORKS)
def test_imported_model_gives_the_embeddings_of_wespeaker(name, models, tmp_path):
    try:
        compat.torchaudio()
    except InputError as error:
        pytest.skip(str(error))
    kaldi = importlib.import_module("torchaudio.compliance.kaldi")
    file, more = NETWORKS[name]
    bins = "acoustic_dim" if file == "samresnet" else "feat_dim"
    arguments = {bins: 80, "embed_dim": 64, **more}
    torch.manual_seed(0)
    theirs = getattr(models(file), name)(**arguments).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    for key, parameter in theirs.named_parameters():
        if "inputs_weights" in key and parameter.requires_grad:
            nn.init.normal_(parameter)
    folder = tmp_path / "theirs"
    folder.mkdir()
    torch.save({**theirs.state_dict(), "projection.weight": torch.zeros(3, 64)}, folder / "avg_model.pt")
    dataset = {"fbank_args": {"num_mel_bins": arguments[bins], "dither": 1.0}, "resample_rate": 16000}
    config = {"model": name, "model_args": arguments, "dataset_args": dataset}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    import_model(folder, tmp_path / "ours")
    encoder = Encoder.open(tmp_path / "ours")
    for samples in (9000, 23456):
        waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        waveform *= np.sin(np.arange(samples) / 900) ** 2
        features = kaldi.fbank(
            torch.from_numpy(waveform)[None] * 32768, num_mel_bins=arguments[bins], window_type="hamming"
        )
        with torch.no_grad():
            out = theirs((features - features.mean(dim=0))[None])
        expected = (out[-1] if isinstance(out, tuple) else out)[0].numpy()
        error = np.abs(encoder.embed(waveform) - expected).max() / np.abs(expected).max()
        print(f"{name}: largest error {error:.1e} of the largest value")
        assert error < 1e-5
