"""Room impulse responses and noises (OpenSLR 28: RIRS_NOISES; 26: simulated rooms). Makes data directories.

python -m data_prep.rirs ROOT OUT [--download]

ROOT holds RIRS_NOISES/, simulated_rirs_16k/, simulated_rirs_8k/ or several of them. Writes, if present in ROOT,

    OUT/real                                     measured responses (RIRS_NOISES/real_rirs_isotropic_noises)
    OUT/simulated, simulated_16k, simulated_8k   simulated ones (RIRS_NOISES/simulated_rirs; OpenSLR 26)
    OUT/isotropic, OUT/pointsource               noises

The speaker column holds the room, or `noise`. Some measured responses have several channels: pack them with
`--channel 0`.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import _corpus
from data_prep._download import Source, openslr
from data_prep._tree import Tree, join_words, look_up, or_null, with_columns
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.lists import read_lines

SOURCE = Source(
    home="https://www.openslr.org/28",
    licence="Apache 2.0",
    archives={
        "rirs_noises": openslr(28, "rirs_noises.zip", digest="md5:e6f48e257286e05de56413b4779d8ffb"),
        "sim_rir_16k": openslr(26, "sim_rir_16k.zip"),
        "sim_rir_8k": openslr(26, "sim_rir_8k.zip"),
    },
    default=("rirs_noises",),
)

_SIMULATED = {"simulated": "simulated_rirs", "simulated_16k": "simulated_rirs_16k", "simulated_8k": "simulated_rirs_8k"}
_EXPECTED = "ROOT/RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav"


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The sets named above, if present; ids are the paths below RIRS_NOISES, or from simulated_rirs_... on."""
    found = {name: _rooms(tree, folder) for name, folder in _SIMULATED.items()}
    found |= _measured(tree)
    found["pointsource"] = _noises(tree, "pointsource_noises")
    if not any(files.num_rows for files in found.values()):
        raise InputError(f"{tree.root}: no recordings found; expected {_EXPECTED}")
    return {name: tree.data(files, _EXPECTED) for name, files in found.items() if files.num_rows}


def _rooms(tree: Tree, folder: str) -> pa.Table:
    files = tree.match(rf"^(?:.*/)?(?P<id>{folder}/(?P<size>[a-z]+room)/(?P<room>Room\d+)/[^/]+\.wav)$")
    return with_columns(files, speaker=join_words(files["size"], files["room"], between="-"))


def _noises(tree: Tree, folder: str) -> pa.Table:
    return with_columns(tree.match(rf"^(?:.*/)?(?P<id>{folder}/[^/]+\.wav)$"), speaker="noise")


def _measured(tree: Tree) -> dict[str, pa.Table]:
    """real_rirs_isotropic_noises/ contains responses and noises; rir_list names the responses and their rooms."""
    files = _noises(tree, "real_rirs_isotropic_noises")
    rooms: dict[str, str | None] = {}
    for file in tree.named("rir_list"):
        if file.parent.name == "real_rirs_isotropic_noises":
            rooms |= _rooms_of(file)
    if files.num_rows and not rooms:
        raise InputError(f"{tree.root}: real_rirs_isotropic_noises/rir_list not found; it tells responses from noises")
    base = pc.replace_substring_regex(files["id"], r"^.*/", "")
    room = look_up(base, rooms)
    response = pc.is_valid(room)
    return {
        "real": with_columns(files, speaker=room).filter(response),
        "isotropic": files.filter(pc.invert(response)),
    }


def _rooms_of(file: Path) -> dict[str, str | None]:
    """Lines `--rir-id 1 --room-id ROOM RIRS_NOISES/real_rirs_isotropic_noises/FILE.wav`: the room by FILE."""
    lines = read_lines(file)
    found = pc.extract_regex(lines, r"--room-id\s+(?P<room>\S+)\s.*?(?P<base>[^/\s]+)\s*$")
    if (row := pc.index(pc.is_null(found), True).as_py()) >= 0:
        raise InputError(
            f"{file}:{row + 1}: expected '--rir-id ID --room-id ROOM PATH', got {lines[row].as_py()[:80]!r}"
        )
    return dict(zip(found.field("base").to_pylist(), or_null(found.field("room")).to_pylist()))


@click.command()
@_corpus.command(SOURCE)
def command(tree: Tree, out: Path) -> None:
    """Make data directories from the impulse responses and noises of OpenSLR 28 and 26 in ROOT.

    \b
    Example: python -m data_prep.rirs corpora data/rirs --download
    """
    _corpus.write_parts(out, prepare(tree))


if __name__ == "__main__":
    _corpus.main("rirs", command)
