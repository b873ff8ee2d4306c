"""Report of one or more systems on a trial list: a table as text, Markdown and JSON, and DET curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath, write_json, write_text
from spkver.metrics import ErrorCurve, error_curve, operating_point
from spkver.report import tables
from spkver.report.det import draw_det
from spkver.scoring.evaluation import DEFAULT_POINTS, Evaluation, evaluate
from spkver.trials import Scores


def report(
    systems: Mapping[str, Scores], out: StrPath, *, title: str = "", points: Sequence[str] = DEFAULT_POINTS
) -> str:
    """Write results.txt, results.md, results.json, det.png and det.svg into the directory `out`; return the table.

    systems: labelled scores by system, in the order of the table
    points: operating points of minDCF; the first is marked on the DET curves
    Raises InputError as `evaluate` does, with the name of the system.
    """
    found: dict[str, Evaluation] = {}
    curves: dict[str, ErrorCurve] = {}
    for name, scores in systems.items():
        try:
            found[name] = evaluate(scores, points)
            curves[name] = error_curve(scores.values, scores.labels)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    cells = _cells(found, points)
    text = tables.text(cells)
    folder = Path(out)
    write_text(folder / "results.txt", (f"{title}\n\n" if title else "") + text + "\n")
    page = f"{tables.markdown(cells)}\n\n![DET](det.svg)\n"
    write_text(folder / "results.md", (f"# {title}\n\n" if title else "") + page)
    write_json(folder / "results.json", {"title": title, "systems": {name: e.plain() for name, e in found.items()}})
    draw_det(
        curves,
        {"png": folder / "det.png", "svg": folder / "det.svg"},
        title=title,
        point=operating_point(points[0]) if points else None,
    )
    return text


def _cells(found: Mapping[str, Evaluation], points: Sequence[str]) -> list[list[str]]:
    rows = [["system", "trials", "targets", "EER %", *(f"minDCF {point}" for point in points)]]
    for name, row in found.items():
        costs = [f"{row.min_dcf[point].cost:.4f}" for point in points]
        rows.append([name, str(row.trials), str(row.targets), f"{100 * row.eer:.2f}", *costs])
    return rows
