"""Average embeddings per speaker, or the windows of a recording."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError

PER = ("utterance", "speaker")


def means(embeddings: Embeddings, per: str) -> Embeddings:
    """Means of length-normalised embeddings, as for enrolment in scoring; in order of first occurrence.

    per: `utterance`: average all windows of an id; `speaker`: all rows of a speaker, whose name becomes the id
    Raises InputError for a row of unknown speaker, and for vectors of norm zero.
    """
    names = embeddings.ids if per == "utterance" else embeddings.speakers
    if names is None or not all(names):
        unknown = embeddings.ids[0] if names is None else embeddings.ids[names.index("")]
        raise InputError(f"the speaker of '{unknown}' is unknown; cannot average per speaker")
    groups = pa.array(names, pa.string()).dictionary_encode()
    codes = groups.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    units = unit(embeddings.vectors, embeddings.ids, "embedding")[order]
    sums = np.add.reduceat(units, starts, axis=0, dtype=np.float64) if len(units) else units
    sizes = np.diff(starts, append=len(units))[:, None]
    ids = groups.dictionary.to_pylist()
    speakers = ids
    if per == "utterance":
        speakers = None if embeddings.speakers is None else [embeddings.speakers[row] for row in order[starts]]
    vectors = (sums / sizes).astype(np.float32)
    return Embeddings(ids, vectors, speakers, embeddings.model, embeddings.front_end)
