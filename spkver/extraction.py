"""Extract embeddings from a data directory, audio pack or feature pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings, write_parts
from spkver.encoder import BATCH_SECONDS, Encoder, equal_lengths, similar_lengths
from spkver.errors import InputError, RunError
from spkver.files import StrPath, file_place, fingerprint
from spkver.processes import ahead, one_thread
from spkver.source import Source, open_source
from spkver.work import Engine, Local, Maker, Share, Work, Written, rows_per_part, run
from spkver.work.parts import records, write_rejected


class Rows(NamedTuple):
    """The rows [first, last) of a source."""

    first: int
    last: int


@dataclass(frozen=True)
class Corpus:
    """A source and a model, opened by each worker.

    The source and the encoder are sent by their paths. Raises InputError if the encoder has none.
    """

    encoder: Encoder
    path: StrPath
    allow_pipes: bool = False

    @cached_property
    def source(self) -> Source:
        """The source, with recordings at the sample rate of the model."""
        return open_source(self.path, front_end=self.encoder.config.front_end, allow_pipes=self.allow_pipes)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.encoder.place is None:
            raise InputError("workers open the model by its path; save it, and open it with Encoder.open")
        return _open_corpus, (*self.encoder.place, self.encoder.precision, self.path, self.allow_pipes)

    @property
    def device(self) -> str:
        """The device that the caller asked for."""
        return self.encoder.place[1] if self.encoder.place else self.encoder.device.type

    def embeddings(
        self, rows: Sequence[int], vectors: Sequence[np.ndarray] | np.ndarray, times: np.ndarray | None = None
    ) -> Embeddings:
        """The embeddings of rows of the source."""
        ids, speakers = self.source.ids, self.source.speakers
        return Embeddings(
            ids=[ids[row] for row in rows],
            vectors=np.asarray(vectors, np.float32).reshape(-1, self.encoder.dim),
            speakers=[speakers[row] for row in rows],
            model=self.encoder.model_id,
            front_end=self._front_end(),
            times=times,
        )

    def mark(self, *settings: Any) -> str:
        """A fingerprint of the source, the model and the settings."""
        encoder = self.encoder
        made_by = (encoder.model_id, self._front_end(), encoder.precision, self.device)
        return fingerprint("embeddings", *made_by, self.source.fingerprint(), *settings)

    def _front_end(self) -> dict[str, Any]:
        return self.encoder.config.front_end.model_dump(mode="json")


def _open_corpus(model: StrPath, device: str, precision: str, path: StrPath, allow_pipes: bool) -> Corpus:
    return Corpus(Encoder.open(model, device).computing_in(precision), path, allow_pipes)


@dataclass(frozen=True)
class Extracted:
    """Result of an extraction: the number of embeddings, and (id, reason) of rejected utterances.

    unusable: the number of windows that cannot be embedded (e.g. silent)
    """

    embeddings: int
    rejected: list[tuple[str, str]]
    unusable: int = 0


def extract(
    encoder: Encoder,
    source: StrPath,
    out: StrPath,
    *,
    seconds: float | None = None,
    max_rejected: float = 0.1,
    allow_pipes: bool = False,
    jobs: int = 2,
    on: Engine | None = None,
    share: Share | None = None,
    say: Callable[[str], None] | None = None,
) -> Extracted | None:
    """Embed every utterance of `source` and write the Parquet file `out`.

    seconds: embed only this many seconds from the middle of every recording; shorter recordings are used whole
    max_rejected: maximum share of rejected utterances; these are listed in `out`.rejected.jsonl with the reason
    jobs: number of threads that decode recordings and, on the CPU, embed them; on: an engine, by default this process
    share: make only this share of the parts, to be gathered later; the result is then None
    say: receives a warning if recordings have an unsuitable sample rate
    Raises InputError if the front end or sample rate of the source is not that of the model; RunError if more than
    `max_rejected` are rejected.
    """
    corpus = Corpus(encoder, source, allow_pipes)
    if say and (odd := corpus.source.warning()):
        say(f"warning: {odd}")
    maker = _Utterances(corpus, seconds)
    return embed_parts(out, maker, corpus.mark(seconds), max_rejected, on or Local(1, jobs), share)


def embed_parts(
    out: StrPath, maker: EmbeddingMaker, mark: str, max_rejected: float, on: Engine, share: Share | None
) -> Extracted | None:
    """Write the embeddings that a maker makes of the rows of its corpus. Arguments and errors as for `extract`."""
    target = file_place(out, plain=True)  # fail early
    total = len(maker.corpus.source)
    size = rows_per_part(total)
    work = Work(
        out=target,
        kind="embeddings",
        mark=mark,
        parts=[Rows(first, min(first + size, total)) for first in range(0, total, size)],
        rows=total,
        maker=maker,
        about={"source": str(maker.corpus.path)},
        max_rejected=max_rejected,
        rejects=rejects_of(target),
        what="extract",
        unit="utterances",
        gpu=maker.corpus.device != "cpu",
    )
    made = run(work, on, share)
    return made.result if made else None


class EmbeddingMaker(Maker[Rows], Protocol):
    """A maker whose rows are those of a corpus."""

    @property
    def corpus(self) -> Corpus:
        """The corpus."""


def rejects_of(out: Path) -> Path:
    """Where the rejected utterances of an extraction are listed."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def gather(out: Path, folder: Path, mark: str, about: Mapping[str, Any]) -> Extracted:
    """Write the embeddings of all parts to one file (a gatherer of `spkver.work`)."""
    rejects = rejects_of(out)
    rejected, rows, unusable, files = [], 0, 0, []
    for record in records(folder):
        rejected += [(one["id"], one["reason"]) for one in record.rejected]
        rows += record.rows
        unusable += record.facts.get("unusable", 0)
        files += [folder / record.file] if record.facts["embeddings"] else []
    if rejected:
        write_rejected(rejects, records(folder))
    else:
        rejects.unlink(missing_ok=True)
    if not files:
        raise RunError(f"{about['source']}: all {rows} utterances rejected; see {rejects}")
    return Extracted(write_parts(out, map(read_embeddings, files)), rejected, unusable)


@dataclass(frozen=True)
class _Utterances:
    """Makes the embeddings of utterances; see `work.Maker`."""

    corpus: Corpus
    seconds: float | None

    def name(self, number: int) -> str:
        return f"part-{number:05d}.parquet"

    def stamp(self, part: Rows) -> str:
        return self.corpus.source.stamp(range(*part))

    def write(self, part: Rows, path: Path, cores: int) -> Written:
        source, rows = self.corpus.source, range(*part)
        with one_thread():
            vectors, rejected = embed(self.corpus.encoder, source, rows, seconds=self.seconds, jobs=cores)
        overflown = [row for row, vector in vectors.items() if not np.isfinite(vector).all()]  # input far too large
        rejected = sorted(rejected + [(row, "its embedding is not finite") for row in overflown])
        kept = [row for row in rows if row in vectors and row not in overflown]
        write_embeddings(path, self.corpus.embeddings(kept, [vectors[row] for row in kept]))
        named = [{"id": source.ids[row], "reason": why} for row, why in rejected]
        return Written(len(rows), {"embeddings": len(kept)}, named)

    def repaired(self, part: Rows, rejected: Sequence[Mapping[str, str]]) -> bool:
        names = {one["id"] for one in rejected}
        corpus = self.corpus
        again = (row for row in range(*part) if corpus.source.ids[row] in names)
        return any(not isinstance(_payload(corpus.encoder, corpus.source, row, self.seconds), str) for row in again)


PADDING = 0.1  # largest share of padding in a batch of unequal lengths


def embed(
    encoder: Encoder,
    source: Source,
    rows: range | None = None,
    *,
    seconds: float | None = None,
    jobs: int = 2,
    padded: bool | None = None,
) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Embeddings (dim,) by row of a source, and (row, reason) of rejected rows.

    rows: by default all; other arguments are those of `extract`
    padded: whether batches have unequal lengths, if the network is `masked`; by default not on a CPU, where this gains
        nothing (docs/performance.md)
    """
    embed_batch = encoder.embed_batch if source.kind == "audio" else encoder.embed_features
    vectors: dict[int, np.ndarray] = {}
    rejected: list[tuple[int, str]] = []

    on_cpu = encoder.device.type == "cpu"
    padded = encoder.network.masked and (not on_cpu if padded is None else padded)

    def read(rows: list[int]) -> tuple[list[np.ndarray | str], np.ndarray | None]:
        payloads = [_payload(encoder, source, row, seconds) for row in rows]
        return payloads, embedded(payloads) if on_cpu else None

    def embedded(payloads: list[np.ndarray | str]) -> np.ndarray:
        usable = [payload for payload in payloads if not isinstance(payload, str)]
        if len({len(payload) for payload in usable}) > 1:
            return encoder.embed_padded(usable)
        return embed_batch(np.stack(usable)) if usable else np.empty((0, encoder.dim), np.float32)

    batches = _batches(source, rows or range(len(source)), seconds, padded)
    for batch, (payloads, found) in ahead(read, batches, jobs):
        usable = [row for row, payload in zip(batch, payloads) if not isinstance(payload, str)]
        vectors.update(zip(usable, embedded(payloads) if found is None else found))
        rejected += [(row, payload) for row, payload in zip(batch, payloads) if isinstance(payload, str)]
    return vectors, sorted(rejected)


def _batches(source: Source, rows: range, seconds: float | None, padded: bool) -> Iterator[list[int]]:
    """Rows of equal length, or of similar length; a row whose length is not known is alone."""
    lengths = source.lengths(seconds)
    if lengths is None:
        return ([row] for row in rows)
    own = lengths[rows.start : rows.stop]
    made = similar_lengths(own, BATCH_SECONDS, PADDING) if padded else equal_lengths(own, BATCH_SECONDS)
    return ([rows[place] for place in batch] for batch in made)


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
