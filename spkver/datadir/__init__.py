"""Data directories in Kaldi's format: wav.scp, segments, utt2spk, spk2gender, utt2dur, utt2session, and
reco2file_and_channel for telephone calls with one speaker per channel.

In memory, a data directory is one Arrow table with one row per utterance. It is read and joined by column, so a million
utterances take seconds (tests/benchmarks/datadir.py). Paths in wav.scp are relative to the current directory, as in
Kaldi.

Ids of utterances, speakers and sessions are UTF-8 without blanks or control characters, because other tools split lines
there. There is no other rule, because ids are never used as file names.
"""

from spkver.datadir.choose import cut, join, prefixed, relabel, split, subset
from spkver.datadir.read import Problem, read_datadir, validate
from spkver.datadir.seconds import durations, read_seconds
from spkver.datadir.table import DataDir, Place, from_columns
from spkver.datadir.write import write_datadir, write_datadirs

__all__ = [
    "DataDir",
    "Place",
    "Problem",
    "cut",
    "durations",
    "from_columns",
    "join",
    "prefixed",
    "read_datadir",
    "read_seconds",
    "relabel",
    "split",
    "subset",
    "validate",
    "write_datadir",
    "write_datadirs",
]
