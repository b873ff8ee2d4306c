"""Models of other toolkits, opened as ours: one file per toolkit, and its line in the registry.

A peer is a class with two static methods: `recognises(source)`, whether a file or directory looks like one of its
models, and `read(source)`, what is in it: a `Found`. Checkpoints are read by `torch.load(weights_only=True)`, YAML as
plain data; nothing that a peer wrote is run.
"""

from __future__ import annotations

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

PEERS = Registry(
    "toolkit",
    {
        "wespeaker": "spkver.interop.peers.wespeaker:WeSpeaker",
        "speechbrain": "spkver.interop.peers.speechbrain:SpeechBrain",
        "redimnet": "spkver.interop.peers.redimnet:ReDimNetRelease",
        "voxceleb_trainer": "spkver.interop.peers.voxceleb_trainer:VoxCelebTrainer",
        # the last, for its checkpoints are told by their tensors alone
        "3dspeaker": "spkver.interop.peers.threedspeaker:ThreeDSpeaker",
    },
)

CARD = """# {model}, imported from {toolkit}

- Source: `{source}`, sha256 {hash}
- {about}
- Front end: `{front_end}`, {whose}.
- Licence and training data: the publisher's. What this import cannot know is what the model may be used for: look it
  up where the file came from.
{mean}"""

MEAN = """- The source holds the mean of its training embeddings. It is the chain `{chain}`, for
  `spkver score --chain` and `spkver transform apply`.
"""


def import_model(source: StrPath, out: StrPath, toolkit: str | None = None, front_end: str | None = None) -> list[str]:
    """Make a model directory of another toolkit's model. Returns what there is to say about it, in lines.

    toolkit: its name; by default the one that the source looks like. front_end: the name of the front end, where the
    source does not state it or another is wanted; the number of bins is the source's.
    Raises InputError for a source that no toolkit is known to write, or whose tensors are not those of its network,
    for one that leaves its front end open, and where `out` is there already.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    chain = Path(f"{out}-mean")
    for target in (Path(out), chain):
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
        said.append(f"left out, used in training only: {', '.join(names)} ({len(dropped)} in all)")
    encoder.network.load_state_dict(state)
    card = CARD.format(
        model=encoder.config.model.name,
        toolkit=name,
        source=found.file.name,
        hash=sha256(found.file),
        about=found.about,
        front_end=encoder.config.front_end.name,
        whose="as it was trained with: embeddings are those that it gave there"
        if front_end is None
        else "as asked for",
        mean=MEAN.format(chain=chain.name) if found.mean is not None else "",
    )
    encoder.save(out, card)
    if found.mean is not None:
        write_chain(chain, Chain((Step("centre", found.mean),), encoder.model_id))
        said.append(f"{chain}: the mean of the training embeddings; subtract it with --chain")
    return said


def _front_end(found: Found, toolkit: str | None, named: str | None) -> dict[str, Any]:
    """The config of the front end. Raises InputError where neither the source nor the caller says which it is."""
    if named not in (None, found.front_end["name"]):
        return {"name": named, "bins": found.front_end["bins"]}
    possible = [name for name, own in found.front_ends.items() if toolkit in (None, own)]
    if len(possible) > 1 and named is None:
        raise InputError(
            f"{found.file}: {found.about}: the file does not name the front end of the training; "
            f"name it with --front-end: {', '.join(possible)}"
        )
    return found.front_end


def _same_spectrogram(found: Found, encoder: Encoder) -> None:
    """Raise InputError where the source holds the buffers of torchaudio's spectrogram, and they are not ours."""
    buffers = dict(encoder.front_end.named_buffers())
    for ending, own in (("mel_scale.fb", "mel"), ("spectrogram.window", "window")):
        ours = buffers.get(own)
        for name, theirs in found.tensors.items():
            if name.endswith(ending) and (
                ours is None or ours.shape != theirs.shape or not torch.allclose(ours, theirs.float(), atol=1e-4)
            ):
                raise InputError(
                    f"{found.file}: {name} is not what the front end {encoder.config.front_end.name} has: the model "
                    "was trained with features that cannot be computed here"
                )


def _read(toolkit: str, path: Path) -> Found:
    """What a peer finds. Raises InputError where values are of other kinds than it expects."""
    peer = PEERS.get(toolkit)
    try:
        found: Found = peer.read(path)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: not what {toolkit} writes ({type(error).__name__}: {error})") from error
    return found


def guess(source: Path) -> str:
    """The toolkit that a file or directory looks like. Raises InputError where it looks like none."""
    for name in PEERS:
        if PEERS.get(name).recognises(source):
            return name
    if source.is_file():
        read_checkpoint(source)  # which says what is wrong with one that does not open
    else:
        for file in sorted(source.iterdir()):
            refuse_stand_in(file)
    raise InputError(f"{source}: no toolkit's model by its looks; name one with --from: {', '.join(PEERS)}")
