"""One embedding for each speaker, or for each recording of which there are windows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.scoring.cosine import unit

PER = ("utterance", "speaker")


def means(embeddings: Embeddings, per: str) -> Embeddings:
    """Means of length-normalised embeddings, as scoring averages those of an enrolment; in the order of first rows.

    per: `utterance`: all windows of an id; `speaker`: all rows of a speaker, who becomes the id.
    Raises InputError for a row whose speaker is not known, and for vectors of length zero.
    """
    names = embeddings.ids if per == "utterance" else embeddings.speakers
    if names is None or not all(names):
        unknown = embeddings.ids[0] if names is None else embeddings.ids[names.index("")]
        raise InputError(f"the speaker of '{unknown}' is not known: no mean per speaker")
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
