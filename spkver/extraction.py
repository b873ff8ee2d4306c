"""Extract embeddings from a data directory, audio pack or feature pack."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from spkver import progress
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import BATCH_SECONDS, Encoder, equal_lengths
from spkver.errors import InputError, RunError
from spkver.files import StrPath, file_place, write_text
from spkver.source import Source, open_source
from spkver.storage import located

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # batches read ahead by each thread


@dataclass(frozen=True)
class Extracted:
    """Result of an extraction: the number of embeddings, and (id, reason) of rejected utterances."""

    embeddings: int
    rejected: list[tuple[str, str]]


def extract(
    encoder: Encoder,
    source: StrPath,
    out: StrPath,
    *,
    seconds: float | None = None,
    max_rejected: float = 0.1,
    allow_pipes: bool = False,
    jobs: int = 2,
    say: Callable[[str], None] | None = None,
) -> Extracted:
    """Embed every utterance of `source` and write the Parquet file `out`.

    seconds: embed only this many seconds from the middle of every recording; shorter recordings are used whole
    max_rejected: maximum share of rejected utterances; these are listed in `out`.rejected.jsonl with the reason
    jobs: number of threads that decode recordings
    say: receives a warning if recordings have an unsuitable sample rate
    Raises InputError if the front end or sample rate of the source is not that of the model; RunError if more than
    `max_rejected` are rejected.
    """
    file_place(out, plain=True)  # fail early
    corpus = open_source(source, front_end=encoder.config.front_end, allow_pipes=allow_pipes)
    if say and (odd := corpus.warning()):
        say(f"warning: {odd}")
    vectors, rejected = embed(encoder, corpus, seconds=seconds, jobs=jobs)
    ids, speakers = corpus.ids, corpus.speakers
    overflown = {row for row, vector in vectors.items() if not np.isfinite(vector).all()}  # input values far too large
    rejected = sorted(rejected + [(row, "its embedding is not finite") for row in overflown])
    kept = [row for row in range(len(ids)) if row in vectors and row not in overflown]
    named = [(ids[row], why) for row, why in rejected]
    settle(source, out, named, len(ids), max_rejected)
    write_embeddings(
        out,
        Embeddings(
            ids=[ids[row] for row in kept],
            vectors=np.stack([vectors[row] for row in kept]),
            speakers=[speakers[row] for row in kept],
            model=encoder.model_id,
            front_end=encoder.config.front_end.model_dump(mode="json"),
        ),
    )
    return Extracted(len(kept), named)


def settle(source: StrPath, out: StrPath, rejected: list[tuple[str, str]], total: int, max_rejected: float) -> None:
    """Write (id, reason) to `out`.rejected.jsonl. Raises RunError if all, or too many, were rejected."""
    place = located(out)
    reasons = place.with_name(f"{place.name}.rejected.jsonl")
    if rejected:
        write_text(reasons, "".join(json.dumps({"id": name, "reason": why}) + "\n" for name, why in rejected))
    else:
        reasons.unlink(missing_ok=True)
    if len(rejected) >= total or len(rejected) > max_rejected * total:
        raise RunError(
            f"{source}: {len(rejected)} of {total} utterances rejected, more than the allowed share "
            f"{max_rejected:g}; see {reasons}"
        )


def embed(
    encoder: Encoder, source: Source, *, seconds: float | None = None, jobs: int = 2
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Embeddings (dim,) by row of a source, and (row, reason) of rejected rows. Arguments are those of `extract`."""
    embed_batch = encoder.embed_batch if source.kind == "audio" else encoder.embed_features
    vectors: dict[int, np.ndarray] = {}
    rejected: list[tuple[int, str]] = []

    def read(rows: list[int]) -> list[np.ndarray | str]:
        return [_payload(encoder, source, row, seconds) for row in rows]

    with progress.bar(total=len(source), what="extract", unit="utt") as bar:
        for rows, payloads in _ahead(read, _batches(source, seconds), jobs):
            usable = {}
            for row, payload in zip(rows, payloads):
                if isinstance(payload, str):
                    rejected.append((row, payload))
                else:
                    usable[row] = payload
            if usable:
                vectors.update(zip(usable, embed_batch(np.stack(list(usable.values())))))
            bar.update(len(rows))
    return vectors, sorted(rejected)


def _batches(source: Source, seconds: float | None) -> Iterator[list[int]]:
    """Rows of equal length; a row whose length is not known is alone."""
    lengths = source.lengths(seconds)
    if lengths is None:
        return ([row] for row in range(len(source)))
    return equal_lengths(lengths, BATCH_SECONDS)


def _payload(encoder: Encoder, source: Source, row: int, seconds: float | None) -> np.ndarray | str:
    """The samples or frames of a row, or the reason why they cannot be embedded."""
    try:
        payload, _ = source.read(row, seconds)
    except InputError as error:
        return str(error)
    return _unusable(encoder, payload) or payload


def _unusable(encoder: Encoder, payload: np.ndarray) -> str | None:
    if payload.ndim == 1:
        return encoder.unusable(payload)
    least = encoder.network.min_frames
    if len(payload) < least:
        return f"too short ({len(payload)} frames, minimum {least})"
    return None if np.isfinite(payload).all() else "NaN or infinite features"


def _ahead(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[tuple[Item, Result]]:
    """Each item with the result of `work`, in order; `jobs` threads work ahead (decoding releases the GIL)."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > _AHEAD * jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
