"""Check a pack against its hashes."""

from __future__ import annotations

from spkver.errors import InputError
from spkver.files import StrPath
from spkver.packs.layout import INDEX, checksum
from spkver.packs.reader import Pack, damage, parse_index, read_index
from spkver.progress import bar
from spkver.storage import located


def verify(path: StrPath) -> list[str]:
    """Read a whole pack and compare it with its hashes. Returns one line per difference; empty if the pack is intact.

    Raises InputError if there is no pack, or its index cannot be read.
    """
    root = located(path)
    index = read_index(root)
    _, shards = parse_index(root / INDEX, index)
    found = []
    if index.get("checksum", checksum(index)) != checksum(index):  # old packs have no checksum
        found.append(f"{root / INDEX}: damaged (its checksum differs); delete the pack and make it again")
    with bar(total=sum(shard.bytes for shard in shards), what="verify", unit="B", unit_scale=True) as progress:
        for shard in shards:
            if reason := damage(root, shard):
                found.append(reason)
            progress.update(shard.bytes)
    if not found:
        try:
            Pack.open(root)
        except InputError as error:
            found.append(str(error))
    return found
