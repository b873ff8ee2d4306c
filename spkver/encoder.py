"""The encoder from waveform to embedding, and its model directory.

The dev EER of training, extraction, `spkver verify` and all exports use `Encoder`, so features cannot differ between
training and inference. A model directory is `model.safetensors`, `config.yaml` and `card.md`; loading it runs no
code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from spkver import audio
from spkver.config import Component, Config, Of, load, save, validate
from spkver.errors import InputError
from spkver.features import FRONT_ENDS
from spkver.features.base import FrontEndModule
from spkver.features.config import FrontEndBase
from spkver.features.fbank import normalise_again
from spkver.files import StrPath, atomic_directory, refuse_stand_in, sha256, write_text
from spkver.modeldir import CARD, CONFIG, WEIGHTS, check, identity
from spkver.models import MODELS
from spkver.models.base import Network
from spkver.storage import located

if TYPE_CHECKING:
    from typing_extensions import Self

Recording = audio.File | np.ndarray | Tensor
FILE = (str, os.PathLike, audio.Content)
SINGLE = (*FILE, np.ndarray, Tensor)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_SECONDS = 60.0  # audio per batch of equal lengths
_HELD_SECONDS = 600.0  # audio of a list that is buffered for batching


class EncoderConfig(Config):
    """The config of an encoder: front end and network."""

    front_end: Annotated[FrontEndBase, Of(FRONT_ENDS)] = Field(default="fbank", validate_default=True)
    model: Annotated[Component, Of(MODELS)] = Field(default="xvector", validate_default=True)


class Encoder(nn.Module):
    """Waveform, front end (filterbank, normalisation over the utterance), network, embedding."""

    _anchor: Tensor

    precision = "fp32"  # of the network at inference

    def __init__(self, config: EncoderConfig, network: Network | None = None) -> None:
        """network: None builds the network of the config, with random weights."""
        super().__init__()
        self.config = config
        self.front_end: FrontEndModule = FRONT_ENDS.build(config.front_end)
        self.network: Network = MODELS.build(config.model, config.front_end.bins) if network is None else network
        if self.network.resolved is not None:
            self.config = config.model_copy(update={"model": self.network.resolved})
        self.whole_seconds = self.network.whole_seconds
        self.register_buffer(
            "_anchor", torch.empty(0), persistent=False
        )  # holds the device if there are no other tensors
        self.model_id = ""
        self.place: tuple[StrPath, str] | None = None  # path and device that it was opened with

    @property
    def dim(self) -> int:
        """Dimension of the embedding."""
        return self.network.dim

    @property
    def sample_rate(self) -> int:
        """Sample rate of the front end in Hz."""
        return self.config.front_end.sample_rate

    @property
    def min_samples(self) -> int:
        """The number of samples of the shortest recording that the network can embed."""
        return self.config.front_end.samples(self.network.min_frames)

    @property
    def device(self) -> torch.device:
        """The device of the encoder."""
        return self._anchor.device

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) float in [-1, 1] to (batch, dim) float32."""
        return self.network(self.front_end(waveform)).float()

    def embed(self, recording: Recording | Sequence[Recording], sample_rate: int | None = None) -> np.ndarray:
        """The embedding of a recording, or the embeddings of a list of recordings.

        recording: a file, its content (`audio.Content`), or a waveform (time,) or (1, time), int16 or in [-1, 1]
        sample_rate: of waveforms, in Hz; None: that of the model. Other rates are resampled.
        Returns float32 (dim,), or (recordings, dim) for a list; not normalised, always finite. Recordings of equal
        length share a batch. A recording longer than `whole_seconds` is cut into windows of equal length, and its
        embedding is the mean over the windows, to bound memory.
        Raises InputError naming a recording that is empty, too short for the network, longer than an hour, silent, not
        finite, not scaled to [-1, 1], or has several channels.
        """
        if isinstance(recording, SINGLE) or not isinstance(recording, Sequence):
            return self.embed_batch(self.waveform(recording, sample_rate)[None])[0]
        vectors = np.empty((len(recording), self.dim), np.float32)
        held: dict[int, np.ndarray] = {}
        for row, one in enumerate(recording):
            name = str(one) if isinstance(one, FILE) else f"waveform {row + 1} of {len(recording)}"
            held[row] = self.waveform(one, sample_rate, name)
            if sum(map(len, held.values())) > _HELD_SECONDS * self.sample_rate or row + 1 == len(recording):
                rows, lengths = list(held), np.array([len(waveform) for waveform in held.values()])
                for batch in equal_lengths(lengths, BATCH_SECONDS * self.sample_rate):
                    own = [rows[place] for place in batch]
                    vectors[own] = self.embed_batch(np.stack([held[row] for row in own]))
                held = {}
        return vectors

    def waveform(self, recording: Recording, sample_rate: int | None = None, name: str = "the waveform") -> np.ndarray:
        """Load and check a recording: float32 (time,) at the sample rate of the model.

        Arguments and errors are those of `embed`; name: name of the waveform in messages
        """
        if isinstance(recording, FILE):
            name = str(recording)
            waveform, _ = audio.read(recording, self.sample_rate)
        elif isinstance(recording, Tensor | np.ndarray):
            samples = _as_array(recording, name) if isinstance(recording, Tensor) else recording
            if samples.ndim == 2 and len(samples) == 1:
                samples = samples[0]
            if samples.ndim != 1:
                raise InputError(f"{name} has shape {samples.shape}; give one channel, (time,)")
            whole = samples.dtype.newbyteorder("=") == np.int16
            if not whole and samples.dtype.kind != "f":
                raise InputError(f"{name} has samples of type {samples.dtype}; give int16, or floats in [-1, 1]")
            with np.errstate(over="ignore"):  # values beyond float32 are rejected as not finite
                waveform = audio.from_int16(samples) if whole else samples.astype(np.float32)
            if sample_rate is not None:
                try:
                    waveform = audio.resample(waveform, sample_rate, self.sample_rate)
                except InputError as error:
                    raise InputError(f"{name}: {error}") from error
        else:
            raise InputError(f"{name}: expected a file or a waveform, got {type(recording).__name__}")
        if reason := self.unusable(waveform):
            raise InputError(f"{name}: {reason}")
        return waveform

    def unusable(self, waveform: np.ndarray) -> str | None:
        """The reason why a waveform (time,) cannot be embedded, or None."""
        return audio.unusable(waveform, self.sample_rate, self.min_samples / self.sample_rate)

    @torch.inference_mode()
    def embed_batch(self, waveforms: np.ndarray) -> np.ndarray:
        """Embeddings (batch, dim) float32 of usable waveforms (batch, time) of equal length, int16 or in [-1, 1]."""
        most = round(self.whole_seconds * self.sample_rate)
        return _in_windows(_scaled(waveforms), most, lambda part: self._finite(self._features(part)))

    @torch.inference_mode()
    def embed_features(self, features: np.ndarray) -> np.ndarray:
        """Embeddings (batch, dim) float32 of features (batch, frames, bins) of a feature pack."""
        most = self.config.front_end.frames(round(self.whole_seconds * self.sample_rate))
        return _in_windows(features, most, lambda part: self._finite(self._features(part)))

    @torch.inference_mode()
    def embed_padded(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings (rows, dim) float32 of waveforms (time,), or features (frames, bins), of unequal lengths.

        They are padded to one batch, for networks that are `masked`. None may be longer than `whole_seconds`.
        """
        features = [self._features(_scaled(row)[None])[0] for row in rows]
        lengths = torch.tensor([len(row) for row in features], device=self.device)
        return self._finite(nn.utils.rnn.pad_sequence(features, batch_first=True), lengths)

    def _features(self, values: np.ndarray) -> Tensor:
        """The network's input from waveforms (batch, time) or from features (batch, frames, bins)."""
        placed = self._place(values)
        if placed.ndim == 2:
            return self.front_end(placed)
        # normalises a part of an utterance by itself; whole utterances do not change
        return normalise_again(placed, self.config.front_end.normalise)

    def _place(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def _finite(self, features: Tensor, lengths: Tensor | None = None) -> np.ndarray:
        if self.training:
            raise RuntimeError("the encoder is in training mode; call .eval() first")
        vectors = self._vectors(features, self.precision, lengths)
        if self.precision == "fp16" and not np.isfinite(vectors).all():  # an activation beyond 65504
            vectors = self._vectors(features, "fp32", lengths)
        if not np.isfinite(vectors).all():
            raise InputError(f"the network returned a non-finite embedding for {features.shape[1]} frames")
        return vectors

    def _vectors(self, features: Tensor, precision: str, lengths: Tensor | None) -> np.ndarray:
        given = {} if lengths is None else {"lengths": lengths}
        with torch.autocast(self.device.type, PRECISIONS[precision], enabled=precision != "fp32"):
            return np.asarray(self.network(features, **given).float().cpu())

    def computing_in(self, precision: str) -> Self:
        """Set the precision of the network to fp32, bf16 or fp16, and return the encoder. Embeddings stay float32.

        Batches that exceed the range of fp16 are computed again in fp32. Raises InputError for another name, and for an
        ONNX file, whose precision is fixed.
        """
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision '{precision}'; known: {', '.join(PRECISIONS)}")
        if precision != "fp32" and self.network.fixed_precision:
            raise InputError(f"an ONNX file has a fixed precision, not {precision}; give a model directory")
        self.precision = precision
        return self

    @classmethod
    def open(cls, path: StrPath, device: str = "cpu") -> Self:
        """Open a model directory, or an .onnx file of `spkver export`, for inference.

        device: cpu, cuda, or auto (cuda if available); for an .onnx file also another device of onnxruntime, see
            `runtime.provider`
        Raises InputError naming a missing file, or the weights that do not match the config.
        """
        if located(path).suffix == ".onnx" and not located(path).is_dir():
            return cls._open_onnx(located(path), device)
        root = check(path)
        encoder = cls(load(EncoderConfig, root / CONFIG))
        try:
            tensors = safetensors.torch.load_file(root / WEIGHTS)
        except (safetensors.SafetensorError, OSError) as error:
            refuse_stand_in(root / WEIGHTS)
            raise InputError(
                f"{root / WEIGHTS}: cannot be read ({error}); copy the model again, or train it again"
            ) from error
        load_weights(encoder.network, tensors, str(root / WEIGHTS))
        encoder.model_id, encoder.place = identity(path), (root, device)
        return encoder.to(pick_device(device)).eval()

    @classmethod
    def _open_onnx(cls, path: Path, device: str) -> Self:
        from spkver.runtime import OnnxNetwork

        network = OnnxNetwork(path, device)
        encoder = cls(validate(EncoderConfig, network.about.get("config")), network)
        # a float32 export gives the embeddings of its model, so both may be mixed
        exact = network.about.get("weights") == "float32"
        encoder.model_id = str(network.about.get("model")) if exact else sha256(path)[:32]
        encoder.place = path, device
        return encoder.eval()

    def save(self, path: StrPath, card: str = "", *, half: bool = False) -> None:
        """Write the model directory atomically. half: weights in float16; InputError if one exceeds its range."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.stored().items()}
        if half:
            tensors = {name: _half(name, tensor) for name, tensor in tensors.items()}
        with atomic_directory(path, holds=CONFIG) as part:
            safetensors.torch.save_file(tensors, part / WEIGHTS)
            stored = self.network.stored_config()
            save(self.config if stored is None else self.config.model_copy(update={"model": stored}), part / CONFIG)
            write_text(part / CARD, card or f"# {self.config.model.name}\n")
        self.model_id = identity(path)


def _scaled(values: np.ndarray) -> np.ndarray:
    return audio.from_int16(values) if values.dtype == np.int16 else values


def equal_lengths(lengths: np.ndarray, limit: float) -> Iterator[list[int]]:
    """Batches of rows of equal length (so that batching does not change results), up to `limit` in total length."""
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(same):
            step = max(1, int(limit // (lengths[same[0]] or 1)))
            for first in range(0, len(same), step):
                yield same[first : first + step].tolist()


def similar_lengths(lengths: np.ndarray, limit: float, share: float) -> Iterator[list[int]]:
    """Batches of rows of similar length, to be padded, up to `limit` in total length; at most a share is padding."""
    batch: list[int] = []
    real = 0.0
    for row in np.argsort(-lengths, kind="stable").tolist():
        whole = lengths[batch[0]] * (len(batch) + 1) if batch else 0.0
        if batch and (whole > limit or real + lengths[row] < (1 - share) * whole):
            yield batch
            batch, real = [], 0.0
        batch.append(row)
        real += lengths[row]
    if batch:
        yield batch


def _in_windows(values: np.ndarray, most: int, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Embeddings (batch, dim) of values (batch, time, ...), passed to `embed` in windows of at most `most`.

    Longer values get the mean over the fewest windows of equal length; constant windows are left out.
    """
    length = values.shape[1]
    if length <= most:
        return embed(values)
    number = -(-length // most)
    size = -(-length // number)
    starts = np.linspace(0, length - size, number).round().astype(int)
    rows = []
    for row in values:
        windows = [row[start : start + size] for start in starts]
        heard = [window for window in windows if (window != window[:1]).any()] or windows
        rows.append(np.mean([embed(window[None])[0] for window in heard], axis=0))
    return np.stack(rows)


def _as_array(tensor: Tensor, name: str) -> np.ndarray:
    """A tensor of samples as an array; floating-point types unknown to NumPy become float32."""
    try:
        plain = tensor.detach().cpu()
        return np.asarray(plain.float().numpy() if plain.is_floating_point() else plain.numpy())
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{name}: cannot read a tensor of {tensor.dtype} ({error}); give float32") from error


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is cuda if available. Raises InputError for an unavailable device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used here ({reason}); try cpu or auto") from error
    return device


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    kept = tensor.half()
    if not kept.isfinite().all():
        raise InputError(f"{name}: {tensor.abs().max():g} exceeds the range of float16; keep the weights in float32")
    return kept


def load_weights(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load weights into a module. Raises InputError listing tensors that are missing, extra or of another shape."""
    if problems := weights_differ({key: value.shape for key, value in module.state_dict().items()}, tensors):
        raise InputError(f"{source}: weights of another model: {problems}")
    module.load_state_dict(tensors)


def weights_differ(wanted: Mapping[str, torch.Size], given: Mapping[str, Tensor]) -> str:
    """The first five tensors that are missing, extra or of another shape, as text; empty if all match."""
    problems = [f"missing {key}" for key in wanted if key not in given]
    problems += [f"extra {key}" for key in given if key not in wanted]
    problems += [
        f"{key} is {tuple(tensor.shape)}, not {tuple(wanted[key])}"
        for key, tensor in given.items()
        if key in wanted and tensor.shape != wanted[key]
    ]
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    return f"{'; '.join(problems[:5])}{more}"
