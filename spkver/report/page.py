"""The report: evaluation of one system, or comparison of several on one trial list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from spkver.datadir import DataDir, read_datadir
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, write_json, write_text
from spkver.formats.convert import read
from spkver.page import Html, contents, document, legend, paragraph, section, side_by_side
from spkver.report import groups, plots, recordings, results
from spkver.report.curves import Curve, read_curves
from spkver.report.embedding_map import embedding_map
from spkver.report.measured import Measured, measure
from spkver.report.results import Settings
from spkver.scoring.comparison import FEWEST_SPEAKERS, TOO_FEW
from spkver.scoring.metadata import read_table
from spkver.storage import located
from spkver.tables import markdown
from spkver.trials import Scores, check, join

_DRAWS = 1000
_FEWEST_DRAWS = 100
_AFFORDABLE = 2_000_000_000  # trials times draws: about a minute
_FIRST_METRICS = ("loss", "dev_eer", "dev_min_dcf", "accuracy")
_MOST_METRICS = 8


@dataclass(frozen=True)
class Material:
    """Optional inputs of the page.

    known: a table of the list's ids, see scoring.metadata.read_table; intervals need its speakers
    runs: training runs by system, see report.curves.read_curves
    recordings: recordings of the list's ids, to embed in the page; allow_pipes: also run those that are shell commands
    """

    known: pa.Table | None = None
    embeddings: Embeddings | None = None
    runs: Mapping[str, Sequence[Mapping[str, Curve]]] = field(default_factory=dict)
    recordings: DataDir | None = None
    allow_pipes: bool = False

    @classmethod
    def read(
        cls,
        *,
        data: StrPath | None = None,
        embeddings: StrPath | None = None,
        training: Iterable[tuple[str, StrPath]] = (),
        audio: StrPath | None = None,
        allow_pipes: bool = False,
    ) -> Material:
        """Read the inputs from files.

        data: see `read_table`; embeddings: in any format; training: system and experiment directory of each run
        audio: data directory of the recordings
        """
        runs: dict[str, list[Mapping[str, Curve]]] = {}
        for name, path in training:
            runs.setdefault(name, []).append(read_curves(path))
        return cls(
            known=read_table(data) if data else None,
            embeddings=read(embeddings) if embeddings else None,
            runs=runs,
            recordings=read_datadir(audio, allow_pipes=True) if audio else None,
            allow_pipes=allow_pipes,
        )


@dataclass(frozen=True)
class Report:
    """A report.

    rows: the table of results without intervals, a row for each system; numbers: all results as plain values for JSON
    det: the DET curves as SVG; html: the page with all of it
    """

    rows: list[list[str]]
    numbers: dict[str, Any]
    det: str
    html: str

    def write(self, out: StrPath) -> Path:
        """Write the page to `out`, if it ends with .html or .htm, and return it.

        Otherwise `out` is a directory, which gets report.html, results.md, results.json and det.svg.
        """
        if is_page(out):
            write_text(out, self.html)
            return located(out)
        folder, title = Path(out), self.numbers["title"]
        heading = f"# {title}\n\n" if title else ""
        write_text(folder / "results.md", f"{heading}{markdown(self.rows)}\n\n![DET curves](det.svg)\n")
        write_json(folder / "results.json", self.numbers)
        write_text(folder / "det.svg", self.det)
        write_text(folder / "report.html", self.html)
        return folder / "report.html"


def is_page(out: StrPath) -> bool:
    """Whether a report of this name is one HTML file."""
    return located(out).suffix.lower() in (".html", ".htm")


def make_report(
    systems: Mapping[str, Scores],
    *,
    title: str = "",
    settings: Settings | None = None,
    material: Material | None = None,
) -> Report:
    """Evaluate one system, or compare several on one trial list, by labelled scores.

    Raises InputError as `evaluate` does, for systems with different trials, and for ids without a speaker.
    """
    settings, material = settings or Settings(), material or Material()
    systems = _of_one_list(systems)
    measured = {name: _measure(name, scores, settings) for name, scores in systems.items()}
    known = _known(material)
    draws, why_none = _draws(systems, known, settings)
    compared = results.comparison(systems, known, settings, draws) if draws else None
    bands = results.bands(compared)
    parts = {
        "Results": [*results.tables(measured, compared, draws), *([paragraph(why_none, "note")] if why_none else [])],
        "Trade-off": [plots.trade_off(measured, bands)],
        "Scores": [side_by_side(*(plots.scores(name, one, settings.threshold) for name, one in measured.items()))],
        "Calibration": [
            side_by_side(plots.bayes(measured, settings.llr), *([plots.reliability(measured)] if settings.llr else []))
        ],
        "Groups": [groups.breakdown(systems, known, by) for by in _columns(known, settings)] if known else [],
        "Speakers": [groups.speakers(systems, measured, known, settings.worst)] if _has_speakers(known) else [],
        "Embeddings": _embeddings(material, known, settings),
        "Training": _training(material.runs, list(systems)),
        **_errors(systems, measured, known, settings, material),
    }
    there = {name: blocks for name, blocks in parts.items() if blocks}
    first = next(iter(systems.values()))
    numbers = {
        "title": title,
        "systems": {name: one.evaluation.plain() for name, one in measured.items()},
        "comparison": compared.plain()["systems"] if compared else None,
    }
    html = document(
        title or "Speaker verification",
        paragraph(_summary(first)),
        *(paragraph(f"The trial list: {odd}.", "warning") for odd in check(first.trials)),
        contents(list(there)),
        *(section(name, *blocks, note=_NOTES.get(name, "")) for name, blocks in there.items()),
        data={"results": numbers},
    )
    names = [f"{name} (EER {100 * one.evaluation.eer:.2f} %)" for name, one in measured.items()]
    det = plots.det_chart(measured, bands).drawing("DET curves", names)
    return Report(results.rows(measured, None), numbers, det, html)


_NOTES = {
    "Groups": "Misses and false alarms are counted at the EER threshold of the whole list; a group's EER is its own. "
    "Trials between two values form the group “one / other”, in either order.",
    "Speakers": "The speakers with the highest mean of miss rate and false-alarm rate, on either side of a trial.",
    "Worst errors": "False accepts with the highest scores and false rejects with the lowest. Check these first for "
    "wrong labels and damaged recordings.",
    "Recordings": f"The first {recordings.SECONDS:g} seconds of each recording. The recordings are embedded in this "
    "file and are personal data: everybody who has the file can play them.",
}


def _measure(name: str, scores: Scores, settings: Settings) -> Measured:
    try:
        return measure(
            scores,
            settings.points,
            far=settings.far,
            llr=settings.llr,
            threshold=settings.threshold,
            worst=settings.worst,
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _of_one_list(systems: Mapping[str, Scores]) -> dict[str, Scores]:
    """The scores of all systems in the order of the first one's trials."""
    (first, scores), *others = systems.items()
    found = {first: scores}
    for name, own in others:
        found[name] = join(own, scores.trials, names=(name, first))
    return found


def _known(material: Material) -> pa.Table | None:
    """The table of the ids; without one, the speakers of the embeddings."""
    embeddings = material.embeddings
    if material.known is not None:
        return groups.with_numbers(material.known)
    if embeddings is not None and embeddings.speakers is not None and all(embeddings.speakers):
        return pa.table({"id": embeddings.ids, "speaker": embeddings.speakers})
    return None


def _has_speakers(known: pa.Table | None) -> bool:
    return known is not None and "speaker" in known.column_names


def _columns(known: pa.Table, settings: Settings) -> Sequence[str]:
    return groups.kinds(known) if settings.by is None else settings.by


def _draws(systems: Mapping[str, Scores], known: pa.Table | None, settings: Settings) -> tuple[int, str]:
    """The number of bootstrap draws, and the reason if it is 0."""
    if known is None or not _has_speakers(known):
        return 0, "No intervals: they need the speakers of the ids (--data)."
    if len(known["speaker"].unique()) < FEWEST_SPEAKERS:
        return 0, f"{TOO_FEW}."
    if settings.replicates is not None:
        return settings.replicates, ""
    affordable = min(_DRAWS, _AFFORDABLE // sum(map(len, systems.values())))
    if affordable < _FEWEST_DRAWS:
        return 0, "No intervals: on a list this long, they are computed only with --replicates."
    return affordable, ""


def _embeddings(material: Material, known: pa.Table | None, settings: Settings) -> list[Html]:
    embeddings = material.embeddings
    if embeddings is None:
        return []
    speakers = embeddings.speakers
    if _has_speakers(known) and known is not None:
        pairs = zip(known["id"].cast(pa.string()).to_pylist(), known["speaker"].cast(pa.string()).to_pylist())
        of = dict(pairs)
        speakers = [of.get(name) or "" for name in embeddings.ids]
    return [embedding_map(embeddings, speakers, method=settings.projection)]


def _training(runs: Mapping[str, Sequence[Mapping[str, Curve]]], systems: Sequence[str]) -> list[Html]:
    if not runs:
        return []
    order = list(dict.fromkeys([*systems, *runs]))
    numbers = {name: number for number, name in enumerate(order)}
    logged = list(dict.fromkeys(name for own in runs.values() for run in own for name in run))
    chosen = [name for name in _FIRST_METRICS if name in logged]
    chosen += [name for name in logged if name not in chosen]
    shown = [plots.training(runs, name, numbers) for name in chosen[:_MOST_METRICS]]
    return [legend(list(runs), [numbers[name] for name in runs]), side_by_side(*shown)]


def _errors(
    systems: Mapping[str, Scores],
    measured: Mapping[str, Measured],
    known: pa.Table | None,
    settings: Settings,
    material: Material,
) -> dict[str, list[Html]]:
    if not any(len(one.false_accepts) + len(one.false_rejects) for one in measured.values()):
        return {}
    clips: dict[str, recordings.Clip] = {}
    if material.recordings is not None:
        wanted = groups.ids_of_errors(systems, measured)
        clips = recordings.clips(material.recordings, wanted, allow_pipes=material.allow_pipes)
    columns = [] if known is None else _columns(known, settings)
    worst = groups.errors(systems, measured, known, columns, recordings.players(clips))
    at = "; ".join(f"{name} {one.threshold:.4f}" for name, one in measured.items())
    blocks = [paragraph(f"At the threshold: {at}.", "note"), worst]
    return {"Worst errors": blocks} | ({"Recordings": [recordings.shelf(clips)]} if clips else {})


def _summary(scores: Scores) -> str:
    targets = int(scores.labels.sum())
    return f"{len(scores):,} trials: {targets:,} targets, {len(scores) - targets:,} non-targets."
