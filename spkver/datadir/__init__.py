"""Data directories in Kaldi's form: wav.scp, segments, utt2spk, spk2gender, utt2dur, utt2session; of stereo telephone
calls with a speaker on each channel, reco2file_and_channel.

A data directory is one Arrow table in memory, one row per utterance, read and joined by column: a million utterances
take seconds (tests/benchmarks/datadir.py). Paths in wav.scp are relative to the current directory, as Kaldi has it.

Ids of utterances, speakers, sessions are words: UTF-8 without blanks and control characters of any script, since other
tools split lines at those. Nothing more is asked of them, since no id is ever used as the name of a file.
"""

from spkver.datadir.choose import cut, join, prefixed, split, subset
from spkver.datadir.count import Stats, stats
from spkver.datadir.read import Problem, read_datadir, validate
from spkver.datadir.seconds import read_seconds
from spkver.datadir.table import DataDir, from_columns
from spkver.datadir.write import write_datadir, write_datadirs

__all__ = [
    "DataDir",
    "Problem",
    "Stats",
    "cut",
    "from_columns",
    "join",
    "prefixed",
    "read_datadir",
    "read_seconds",
    "split",
    "stats",
    "subset",
    "validate",
    "write_datadir",
    "write_datadirs",
]
