"""Import models of other toolkits: one file per toolkit, and its line in the registry.

A peer is a class with two static methods: `recognises(source)` tells whether a file or directory looks like one of its
models, and `read(source)` returns its content as a `Found`. Checkpoints are read by `torch.load(weights_only=True)` and
YAML as plain data, so no code from the files is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.files import StrPath, refuse_stand_in, sha256
from spkver.interop.peers.files import read_checkpoint
from spkver.interop.peers.layout import Found, to_ours
from spkver.registry import Registry
from spkver.scoring.chain import Chain, Step, write_chain
from spkver.storage import located

PEERS = Registry(
    "toolkit",
    {
        "wespeaker": "spkver.interop.peers.wespeaker:WeSpeaker",
        "transformers": "spkver.interop.peers.transformers:Transformers",
        "unispeech": "spkver.interop.peers.unispeech:UniSpeech",
        "nemo": "spkver.interop.peers.nemo:NeMo",
        "speechbrain": "spkver.interop.peers.speechbrain:SpeechBrain",
        "redimnet2": "spkver.interop.peers.redimnet2:ReDimNet2Release",
        "redimnet": "spkver.interop.peers.redimnet:ReDimNetRelease",
        "voxceleb_trainer": "spkver.interop.peers.voxceleb_trainer:VoxCelebTrainer",
        # last, because its checkpoints are recognised by their tensors alone
        "3dspeaker": "spkver.interop.peers.threedspeaker:ThreeDSpeaker",
    },
)

CARD = """# {model}, imported from {toolkit}

- Source: `{source}`, sha256 {hash}
- {about}
- Front end: `{front_end}`, {whose}.
{published}
{mean}"""

UNKNOWN = "Licence and training data: see where the file was published. They decide what the model may be used for."

MEAN = """- The source contains the mean of its training embeddings. It is stored as the chain `{chain}`, for
  `spkver score --chain` and `spkver transform apply`.
"""


def import_model(
    source: StrPath,
    out: StrPath,
    toolkit: str | None = None,
    front_end: str | None = None,
    published: Sequence[str] = (UNKNOWN,),
) -> list[str]:
    """Convert a model of another toolkit to a model directory. Returns messages for the user, one per line.

    toolkit: its name; recognised from the source by default
    front_end: name of the front end, if the source does not state it or to replace it; the number of bins is kept
    published: what is known about its publication, one line each, for the card
    Raises InputError for a source of no known toolkit, for tensors that do not match the network, if the front end is
    ambiguous, and if `out` exists.
    """
    path = located(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    chain = located(f"{out}-mean")
    for target in (located(out), chain):
        if target.exists():
            raise InputError(f"{target}: exists already; remove it or choose another path")
    name = toolkit or guess(path)
    found = _read(name, path)
    config = {"front_end": _front_end(found, toolkit, front_end), "model": found.model}
    encoder = Encoder(validate(EncoderConfig, config, where=lambda at: f"{found.file}: "))
    _same_spectrogram(found, encoder)
    said = [f"{found.file}: {found.about}"]
    state, dropped = to_ours(found, encoder.network)
    if dropped:
        names = [*dropped[:3], "..."] if len(dropped) > 3 else dropped
        said.append(f"omitted, used in training only: {', '.join(names)} ({len(dropped)} in all)")
    encoder.network.load_state_dict(state)
    card = CARD.format(
        model=encoder.config.model.name,
        toolkit=name,
        source=found.file.name,
        hash=sha256(found.file),
        about=found.about,
        front_end=encoder.config.front_end.name,
        whose="the one it was trained with, so embeddings are the same as in the original toolkit"
        if front_end is None
        else "set with --front-end",
        published="\n".join(f"- {line}" for line in published),
        mean=MEAN.format(chain=chain.name) if found.mean is not None else "",
    )
    encoder.save(out, card)
    if found.mean is not None:
        write_chain(chain, Chain((Step("centre", found.mean),), encoder.model_id))
        said.append(f"{chain}: the mean of the training embeddings; subtract it with --chain")
    return said


def _front_end(found: Found, toolkit: str | None, named: str | None) -> dict[str, Any]:
    """The config of the front end. Raises InputError if neither the source nor the caller names it."""
    if named not in (None, found.front_end["name"]):
        return {"name": named, "bins": found.front_end["bins"]}
    possible = [name for name, own in found.front_ends.items() if toolkit in (None, own)]
    if len(possible) > 1 and named is None:
        raise InputError(
            f"{found.file}: {found.about}: the file does not say with which front end it was trained; "
            f"choose one with --front-end: {', '.join(possible)}"
        )
    return found.front_end


def _same_spectrogram(found: Found, encoder: Encoder) -> None:
    """Raise InputError if the source contains buffers of torchaudio's spectrogram that differ from our front end."""
    buffers = dict(encoder.front_end.named_buffers())
    for ending, own in (("mel_scale.fb", "mel"), ("spectrogram.window", "window")):
        ours = buffers.get(own)
        for name, theirs in found.tensors.items():
            if name.endswith(ending) and (
                ours is None or ours.shape != theirs.shape or not torch.allclose(ours, theirs.float(), atol=1e-4)
            ):
                raise InputError(
                    f"{found.file}: {name} differs from that of the front end {encoder.config.front_end.name}; the "
                    "features of the training are not supported"
                )


def _read(toolkit: str, path: Path) -> Found:
    """Read a source with a peer. Raises InputError for values of unexpected types."""
    peer = PEERS.get(toolkit)
    try:
        found: Found = peer.read(path)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: not a model of {toolkit} ({type(error).__name__}: {error})") from error
    return found


def guess(source: Path) -> str:
    """The toolkit that wrote a file or directory. Raises InputError if it is not recognised."""
    for name in PEERS:
        if PEERS.get(name).recognises(source):
            return name
    if source.is_file():
        read_checkpoint(source)  # its error says why the file does not open
    else:
        for file in sorted(source.iterdir()):
            refuse_stand_in(file)
    raise InputError(f"{source}: the toolkit was not recognised; choose one with --from: {', '.join(PEERS)}")
