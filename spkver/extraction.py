"""Extract embeddings from a data directory, audio pack or feature pack."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spkver import audio, progress
from spkver.datadir import DataDir, read_datadir
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import BATCH_SECONDS, Encoder, equal_lengths
from spkver.errors import InputError, RunError
from spkver.files import StrPath, file_place, write_text
from spkver.packs.reader import Pack


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
    root = Path(source)
    if (root / "pack.json").is_file():
        pack = Pack.open(root)
        pack.require(encoder.config.front_end)
        vectors, rejected = embed_pack(encoder, pack, seconds=seconds)
        ids, speakers = pack.ids, pack.speakers
    else:
        data = read_datadir(root, allow_pipes=allow_pipes)
        if say and (odd := audio.rate_warning(audio.sample_rates(data.paths), encoder.sample_rate)):
            say(f"warning: {odd}")
        vectors, rejected = _embed_files(encoder, data, seconds, allow_pipes, jobs)
        ids, speakers = data.ids, data.speakers
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
    reasons = Path(f"{out}.rejected.jsonl")
    if rejected:
        write_text(reasons, "".join(json.dumps({"id": name, "reason": why}) + "\n" for name, why in rejected))
    else:
        reasons.unlink(missing_ok=True)
    if len(rejected) >= total or len(rejected) > max_rejected * total:
        raise RunError(
            f"{source}: {len(rejected)} of {total} utterances rejected, more than the allowed share "
            f"{max_rejected:g}; see {reasons}"
        )


def embed_pack(
    encoder: Encoder, pack: Pack, *, seconds: float | None = None
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Embeddings by row of a pack, and (row, reason) of rejected rows."""
    per_second = pack.header.units_per_second
    lengths = pack.lengths if seconds is None else np.minimum(pack.lengths, max(1, round(seconds * per_second)))
    embed = encoder.embed_batch if pack.kind == "audio" else encoder.embed_features
    vectors: dict[int, np.ndarray] = {}
    rejected: list[tuple[int, str]] = []
    with progress.bar(total=len(pack), what="extract", unit="utt") as bar:
        for rows in equal_lengths(lengths, int(BATCH_SECONDS * per_second)):
            usable: dict[int, np.ndarray] = {}
            for row in rows:
                length = int(lengths[row])
                try:
                    payload = pack.crop(row, (int(pack.lengths[row]) - length) // 2, length)
                    reason = _unusable(encoder, payload)
                except InputError as error:
                    reason = str(error)
                if reason:
                    rejected.append((row, reason))
                else:
                    usable[row] = payload
            if usable:
                vectors.update(zip(usable, embed(np.stack(list(usable.values())))))
            bar.update(len(rows))
    return vectors, sorted(rejected)


def _unusable(encoder: Encoder, payload: np.ndarray) -> str | None:
    """The reason why samples or frames of a pack cannot be embedded, or None."""
    if payload.ndim == 1:
        return encoder.unusable(audio.from_int16(payload))
    least = encoder.network.min_frames
    if len(payload) < least:
        return f"too short ({len(payload)} frames, minimum {least})"
    return None if np.isfinite(payload).all() else "NaN or infinite features"


def _embed_files(
    encoder: Encoder, data: DataDir, seconds: float | None, allow_pipes: bool, jobs: int
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Embed recordings; threads decode ahead (libsndfile and the resampler release the GIL)."""
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
    channels = data.column("channel") or [None] * len(data)

    def read(row: int) -> tuple[np.ndarray, str | None]:
        try:
            waveform, _ = audio.read(
                paths[row],
                encoder.sample_rate,
                start=starts[row] or 0.0,
                end=ends[row],
                channel=channels[row],
                allow_pipes=allow_pipes,
            )
        except InputError as error:
            return np.empty(0, np.float32), str(error)
        if seconds is not None:
            length = min(len(waveform), round(seconds * encoder.sample_rate))
            first = (len(waveform) - length) // 2
            waveform = waveform[first : first + length]
        return waveform, encoder.unusable(waveform)

    return read
