"""The cohort of a score normalisation: embeddings of other speakers, in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spkver.files import StrPath, atomic_file, sha256
from spkver.formats.means import means
from spkver.processes import one_thread
from spkver.scoring.backend import BackEnd
from spkver.scoring.normalisation import CohortStatistics, cohort_statistics, read_statistics
from spkver.storage import located
from spkver.trials import read_enrolment
from spkver.work import Engine


@dataclass(frozen=True)
class CohortFile:
    """A file of embeddings of other speakers, usually of the training data, and how scores are normalised by it.

    path: embeddings in any format
    back_end: the back end of the scores
    top: use only this many highest cohort scores (adaptive normalisation); by default all
    by_speaker: average the cohort embeddings of each speaker
    cache: directory to store statistics in and reuse them from
    """

    path: StrPath
    back_end: BackEnd
    top: int | None = None
    by_speaker: bool = False
    cache: StrPath | None = None

    def statistics(
        self,
        embeddings: StrPath,
        *,
        test: StrPath | None = None,
        enrolment: StrPath | None = None,
        on: Engine | None = None,
        kept: StrPath | None = None,
    ) -> tuple[CohortStatistics, CohortStatistics]:
        """The statistics of the enrolment side and of the test side. Files as for `BackEnd.open`.

        on: an engine, by default this process
        kept: directory for parts without a cache, so that an interrupted run can continue; it must be removed later
        Raises InputError as `cohort_statistics` does.
        """
        enrol = self._of_side("enrol", embeddings, enrolment, on, kept)
        if test is None and enrolment is None:
            return enrol, enrol
        return enrol, self._of_side("test", test or embeddings, None, on, kept)

    def _of_side(
        self, side: str, embeddings: StrPath, enrolment: StrPath | None, on: Engine | None, kept: StrPath | None
    ) -> CohortStatistics:
        if self.cache is None:
            return self._computed(embeddings, enrolment, on, Path(kept) / f"{side}.parquet" if kept else None)
        files = {"embeddings": embeddings, "enrolment": enrolment, "cohort": self.path, **self.back_end.paths}
        hashes = {name: _hash(located(path)) for name, path in files.items() if path}
        about = hashes | {"top": self.top, "by_speaker": self.by_speaker}
        path = located(self.cache) / f"{side}.parquet"
        found = _read(path, about)
        if found is None:
            found = self._computed(embeddings, enrolment, on, path)
            _write(path, about, found)
        return found

    def _computed(
        self, embeddings: StrPath, enrolment: StrPath | None, on: Engine | None, out: Path | None
    ) -> CohortStatistics:
        with one_thread():
            cohort = self.back_end.read(self.path)
            if self.by_speaker:
                cohort = means(cohort, "speaker")
            models = read_enrolment(enrolment) if enrolment else None
            sides = self.back_end.sides(self.back_end.read(embeddings), cohort, models)
        return cohort_statistics(sides, self.top, out, on)


def _hash(path: Path) -> str:
    """Hash of a file, or of the files of a directory."""
    return " ".join(map(sha256, sorted(path.iterdir()))) if path.is_dir() else sha256(path)


def _read(path: Path, about: dict[str, Any]) -> CohortStatistics | None:
    """Stored statistics of the same inputs and settings, or None."""
    if not path.exists():
        return None
    found = read_statistics(path)
    return found if (pq.read_schema(path).metadata or {}).get(b"spkver") == _encoded(about) else None


def _write(path: Path, about: dict[str, Any], found: CohortStatistics) -> None:
    columns = {"id": found.ids, "mean": found.mean, "deviation": found.deviation}
    with atomic_file(path) as part:
        pq.write_table(pa.table(columns, metadata={b"spkver": _encoded(about)}), part)


def _encoded(about: dict[str, Any]) -> bytes:
    return json.dumps(about, sort_keys=True).encode()
