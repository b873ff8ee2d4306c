"""Embeddings of everything in a data directory, audio pack or feature pack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spkver import audio, progress
from spkver.datadir import DataDir, read_datadir
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.files import StrPath, write_text
from spkver.packs.reader import Pack

BATCH_SECONDS = 60.0  # audio in one batch of equal lengths


@dataclass(frozen=True)
class Extracted:
    """What an extraction gave: the number of embeddings, and (id, reason) of what was set aside."""

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
) -> Extracted:
    """Embed every utterance of `source` and write the Parquet file `out`.

    seconds: embed only the middle of every recording, this long (shorter ones whole).
    Recordings that cannot serve go to `out`.rejected.jsonl with their reason. Raises RunError when their share is over
    `max_rejected`, InputError when the source's front end or sample rate is not the model's.
    """
    root = Path(source)
    if (root / "pack.json").is_file():
        pack = Pack.open(root)
        _check_pack(encoder, pack)
        vectors, rejected = embed_pack(encoder, pack, seconds=seconds)
        ids, speakers = pack.ids, pack.speakers
    else:
        data = read_datadir(root, allow_pipes=allow_pipes)
        vectors, rejected = _embed_files(encoder, data, seconds, allow_pipes, jobs)
        ids, speakers = data.ids, data.speakers
    kept = [row for row in range(len(ids)) if row in vectors]
    reasons = Path(f"{out}.rejected.jsonl")
    if rejected:
        write_text(reasons, "".join(json.dumps({"id": ids[row], "reason": why}) + "\n" for row, why in rejected))
    else:
        reasons.unlink(missing_ok=True)
    if not kept or len(rejected) > max_rejected * len(ids):
        raise RunError(
            f"{source}: {len(rejected)} of {len(ids)} utterances cannot be embedded, more than the share "
            f"{max_rejected:g} that is allowed; see {reasons}"
        )
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
    return Extracted(len(kept), [(ids[row], why) for row, why in rejected])


def embed_pack(
    encoder: Encoder, pack: Pack, *, seconds: float | None = None
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Embeddings by row of a pack, and (row, reason) of the rows that cannot be embedded."""
    per_second = (
        encoder.sample_rate if pack.kind == "audio" else encoder.sample_rate / encoder.config.front_end.frame_shift
    )
    limit = None if seconds is None else max(1, round(seconds * per_second))
    least = encoder.min_samples if pack.kind == "audio" else encoder.network.min_frames
    embed = encoder.embed_batch if pack.kind == "audio" else encoder.embed_features
    lengths = pack.lengths if limit is None else np.minimum(pack.lengths, limit)
    vectors: dict[int, np.ndarray] = {}
    rejected = [
        (row, f"too short: {lengths[row] / per_second:.3f} s, the network needs {least / per_second:.3f} s")
        for row in np.flatnonzero(lengths < least).tolist()
    ]
    with progress.bar(total=len(pack), what="extract", unit="utt") as bar:
        bar.update(len(rejected))
        for rows in _equal_lengths(lengths, least, int(BATCH_SECONDS * per_second)):
            length = int(lengths[rows[0]])
            batch = np.stack([pack.crop(row, (int(pack.lengths[row]) - length) // 2, length) for row in rows])
            vectors.update(zip(rows, embed(batch)))
            bar.update(len(rows))
    return vectors, rejected


def _equal_lengths(lengths: np.ndarray, least: int, limit: int) -> Iterator[list[int]]:
    """Batches of rows that have one length (so that a batch gives what one by one gives), up to `limit` in all."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] >= least]
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(same):
            step = max(1, limit // int(lengths[same[0]]))
            for first in range(0, len(same), step):
                yield same[first : first + step].tolist()


def _check_pack(encoder: Encoder, pack: Pack) -> None:
    if pack.kind == "features":
        own = encoder.config.front_end.model_dump(mode="json")
        theirs = pack.front_end or {}
        for key, value in own.items():
            if theirs.get(key) != value:
                raise InputError(
                    f"{pack.path}: features made with {key} {theirs.get(key)}, the model takes {key} {value}; "
                    "make them with the model's front end, or extract from audio"
                )
    elif pack.sample_rate != encoder.sample_rate:
        raise InputError(
            f"{pack.path}: audio at {pack.sample_rate} Hz, the model takes {encoder.sample_rate} Hz; "
            f"pack it with --sample-rate {encoder.sample_rate}"
        )


def _embed_files(
    encoder: Encoder, data: DataDir, seconds: float | None, allow_pipes: bool, jobs: int
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Recordings are decoded ahead by threads (libsndfile and the resampler leave the interpreter free)."""
    read = _reader(encoder, data, seconds, allow_pipes)
    vectors: dict[int, np.ndarray] = {}
    rejected: list[tuple[int, str]] = []
    total = len(data)
    with ThreadPoolExecutor(jobs) as pool, progress.bar(total=total, what="extract", unit="utt") as bar:
        for first in range(0, total, 64):
            rows = range(first, min(total, first + 64))
            for row, (waveform, reason) in zip(rows, pool.map(read, rows)):
                if reason:
                    rejected.append((row, reason))
                else:
                    vectors[row] = encoder.embed_batch(waveform[None])[0]
                bar.update()
    return vectors, rejected


def _reader(
    encoder: Encoder, data: DataDir, seconds: float | None, allow_pipes: bool
) -> Callable[[int], tuple[np.ndarray, str | None]]:
    paths = data.paths
    starts = data.column("start") or [0.0] * len(data)
    ends = data.column("end") or [None] * len(data)

    def read(row: int) -> tuple[np.ndarray, str | None]:
        try:
            waveform, _ = audio.read(
                paths[row], encoder.sample_rate, start=starts[row] or 0.0, end=ends[row], allow_pipes=allow_pipes
            )
        except InputError as error:
            return np.empty(0, np.float32), str(error)
        if seconds is not None:
            length = min(len(waveform), round(seconds * encoder.sample_rate))
            first = (len(waveform) - length) // 2
            waveform = waveform[first : first + length]
        return waveform, encoder.unusable(waveform)

    return read
