"""Packs: utterances as rows of memory-mapped Arrow IPC files, audio (int16) or features (float16).

A pack is a directory: `shard-00000.arrow`, ... one row per utterance, `pack.json` with the index, and
`rejected.jsonl` with the rejected recordings and the reasons. It is complete or absent.
"""

from spkver.packs.build import Summary
from spkver.packs.featurise import make_features
from spkver.packs.joined import JoinedPacks, join
from spkver.packs.reader import Pack
from spkver.packs.recordings import pack_audio
from spkver.packs.verify import verify
from spkver.packs.writer import PackWriter

__all__ = ["JoinedPacks", "Pack", "PackWriter", "Summary", "join", "make_features", "pack_audio", "verify"]
