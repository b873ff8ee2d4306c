"""Trial lists and score files: read, write, join, make and check them."""

from spkver.trials.checks import check, falling
from spkver.trials.files import (
    Span,
    join_files,
    read_enrolment,
    read_scores,
    read_trials,
    score_writer,
    spans,
    stream_scores,
    stream_trials,
    write_scores,
    write_trials,
)
from spkver.trials.labelled import read_labelled
from spkver.trials.making import make_trials
from spkver.trials.table import Scores, Trials, codes, concatenate, join, pair_keys

__all__ = [
    "Scores",
    "Span",
    "Trials",
    "check",
    "codes",
    "concatenate",
    "falling",
    "join",
    "join_files",
    "make_trials",
    "pair_keys",
    "read_enrolment",
    "read_labelled",
    "read_scores",
    "read_trials",
    "score_writer",
    "spans",
    "stream_scores",
    "stream_trials",
    "write_scores",
    "write_trials",
]
