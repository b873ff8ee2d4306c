"""The one path from waveform to embedding, and the model directory that holds it.

Training's dev EER, extraction, `spkver verify` and every export go through `Encoder`, so features cannot differ
between training and use. A model directory is `model.safetensors`, `config.yaml` and `card.md`; loading it runs no
code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from spkver import audio
from spkver.config import Config, component, load, save, validate
from spkver.errors import InputError
from spkver.features import FrontEnd, FrontEndConfig
from spkver.features.fbank import normalise
from spkver.files import StrPath, atomic_directory, sha256, write_text
from spkver.models import MODELS

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.md"


class EncoderConfig(Config):
    """All that it takes to build an encoder: the front end and the network."""

    front_end: FrontEndConfig = FrontEndConfig()
    model: component(MODELS) = Field(default="xvector")  # type: ignore[valid-type]


class Encoder(nn.Module):
    """Waveform, filterbank, normalisation over the utterance, network, embedding."""

    def __init__(self, config: EncoderConfig, network: nn.Module | None = None) -> None:
        """network: by default the config's, with random weights."""
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config.front_end)
        self.network: Any = MODELS.build(config.model, config.front_end.bins) if network is None else network
        self.model_id = ""

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        return int(self.network.dim)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.front_end.sample_rate

    @property
    def min_samples(self) -> int:
        """The shortest recording that the network can embed."""
        return self.config.front_end.samples(self.network.min_frames)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return self.front_end.mel.device

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, dim) float32."""
        return self.network(self.front_end(waveform)).float()

    @torch.inference_mode()
    def embed(self, recording: StrPath | np.ndarray | Tensor, sample_rate: int | None = None) -> np.ndarray:
        """The embedding of a recording: a file, or one waveform (time,).

        A waveform is int16 or in [-1, 1]; sample_rate is its own in Hz, by default the model's.
        Returns float32 (dim,), not normalised. Raises InputError for a recording that is empty, too short, silent or
        not finite; an embedding is never NaN.
        """
        if isinstance(recording, Tensor | np.ndarray):
            name = "the waveform"
            samples = recording.detach().cpu().numpy() if isinstance(recording, Tensor) else recording
            if samples.ndim != 1:
                raise InputError(f"{name} has shape {samples.shape}; give one channel, (time,)")
            waveform = audio.from_int16(samples) if samples.dtype == np.int16 else samples.astype(np.float32)
            if sample_rate is not None and len(waveform):
                waveform = audio.resample(waveform, sample_rate, self.sample_rate)
        else:
            name = str(recording)
            waveform, _ = audio.read(recording, self.sample_rate)
        reason = self.unusable(waveform)
        if reason:
            raise InputError(f"{name}: {reason}")
        return self.embed_batch(waveform[None])[0]

    def unusable(self, waveform: np.ndarray) -> str | None:
        """Why a waveform (time,) cannot be embedded, or None."""
        return audio.unusable(waveform, self.sample_rate, self.min_samples / self.sample_rate)

    @torch.inference_mode()
    def embed_batch(self, waveforms: np.ndarray) -> np.ndarray:
        """Embeddings (batch, dim) float32 of usable waveforms (batch, time) of one length, int16 or in [-1, 1]."""
        scaled = audio.from_int16(waveforms) if waveforms.dtype == np.int16 else waveforms
        return self._finite(self.front_end(self._place(scaled)))

    @torch.inference_mode()
    def embed_features(self, features: np.ndarray) -> np.ndarray:
        """Embeddings (batch, dim) float32 of features (batch, frames, bins) as a feature pack holds them."""
        # a part of an utterance is normalised as that part, which changes nothing for a whole one
        return self._finite(normalise(self._place(features), self.config.front_end.normalise))

    def _place(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def _finite(self, features: Tensor) -> np.ndarray:
        if self.training:
            raise RuntimeError("embed with a training encoder: call .eval() first")
        vectors: np.ndarray = self.network(features).float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise InputError(f"the network gave a non-finite embedding for {features.shape[1]} frames")
        return vectors

    def save(self, path: StrPath, card: str = "") -> None:
        """Write the model directory, whole or not at all."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        with atomic_directory(path) as part:
            safetensors.torch.save_file(tensors, part / WEIGHTS)
            save(self.config, part / CONFIG)
            write_text(part / CARD, card or f"# {self.config.model.name}\n")
        self.model_id = identity(path)


def identity(path: StrPath) -> str:
    """The hash of a model directory: of its config and weights. Embeddings carry it, scoring compares it."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((Path(path) / name).read_bytes())
    return digest.hexdigest()[:32]


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one. Raises InputError for one that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used here ({reason}); try cpu or auto") from error
    return device


def load_model(path: StrPath, device: str = "cpu") -> Encoder:
    """Open a model directory for inference on a device: cpu, cuda, or auto for the GPU where there is one.

    Or an .onnx file that `spkver export` wrote, which computes on the CPU.
    Raises InputError naming what is missing, or which weights do not fit the config.
    """
    root = Path(path)
    if root.suffix == ".onnx" and not root.is_dir():
        return _load_onnx(root, device)
    for name in (CONFIG, WEIGHTS):
        if not (root / name).is_file():
            raise InputError(f"{path}: not a model directory (no {name}); give the `model` folder of an experiment")
    encoder = Encoder(load(EncoderConfig, root / CONFIG))
    try:
        tensors = safetensors.torch.load_file(root / WEIGHTS)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{root / WEIGHTS}: cannot be read ({error}); copy or train the model again") from error
    load_weights(encoder.network, tensors, str(root / WEIGHTS))
    encoder.model_id = identity(path)
    return encoder.to(pick_device(device)).eval()


def _load_onnx(path: Path, device: str) -> Encoder:
    from spkver.runtime import OnnxNetwork

    if device not in ("cpu", "auto"):
        raise InputError(f"{path}: ONNX files are run on the CPU here; for {device} give the model directory")
    network = OnnxNetwork(path)
    encoder = Encoder(validate(EncoderConfig, network.about.get("config")), network)
    # float32 gives the embeddings of the model that it was made from, which may be mixed with these
    exact = network.about.get("weights") == "float32"
    encoder.model_id = str(network.about.get("model")) if exact else sha256(path)[:32]
    return encoder.eval()


def load_weights(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load a state into a module. Raises InputError listing the keys that are missing, extra or misshapen."""
    own = module.state_dict()
    problems = [f"missing {key}" for key in own if key not in tensors]
    problems += [f"extra {key}" for key in tensors if key not in own]
    problems += [
        f"{key} is {tuple(tensor.shape)}, not {tuple(own[key].shape)}"
        for key, tensor in tensors.items()
        if key in own and tensor.shape != own[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(f"{source}: weights of another model: {'; '.join(problems[:5])}{more}")
    module.load_state_dict(tensors)
