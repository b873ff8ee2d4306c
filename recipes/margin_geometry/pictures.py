"""The plots. Each function takes numbers and returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipes.margin_geometry.boundaries import Plane
from recipes.margin_geometry.measures import Spread, centres, directions
from recipes.margin_geometry.style import CLASSES, EXTRA, GREY, PALE, canvas, colours
from recipes.margin_geometry.training import Seen, Trained
from spkver.errors import load_optional

_ONE, _TWO = "#4477AA", "#EE6677"


def psi(panels: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    """ψ / σ over θ from 0 to 180 degrees, one panel per kind of margin."""
    figure = canvas(14.0, 3.8)
    for axes, (title, curves) in zip(_row(figure, len(panels)), panels.items()):
        colour = colours(label for label in curves if " as " not in label)
        for label, values in curves.items():
            theta = np.linspace(0, 180, len(values))
            plain, variant, _ = label.partition(" as ")
            name = "m" + label.partition(" m")[2]  # the title names the loss
            axes.plot(theta, values, color=colour[plain], linestyle=":" if variant else "-", label=name)
        axes.plot(theta, np.cos(np.radians(theta)), color=GREY, linewidth=0.9, zorder=1)
        _angle_axis(axes.xaxis)
        lowest = min(values.min() for values in curves.values())
        axes.set(title=title, xlabel="θ (degrees)", xlim=(0, 180), ylim=(1.25 * lowest - 0.25, None))
        axes.grid(color=PALE, linewidth=0.7)
        axes.legend(loc="lower left")
    figure.axes[0].set_ylabel("ψ / σ")
    return figure


def boundaries(planes: Mapping[str, tuple[Plane, Plane]], measured: Mapping[str, int]) -> Any:
    """Two classes for each loss, in cosines above and in angles below; measured: the row that shows the width."""
    figure = canvas(12.5, 5.3)
    grid = figure.subplots(2, len(planes))
    for column, (label, both) in enumerate(planes.items()):
        grid[0, column].set_title(label, color=next(iter(colours([label]).values())), fontweight="bold")
        for row, plane in enumerate(both):
            axes = grid[row, column]
            _two_classes(axes, plane)
            _plane_axes(axes, row, first=column == 0)
            if measured.get(label) == row:
                _write_width(axes, plane)
    return figure


def _two_classes(axes: Any, plane: Plane) -> None:
    side, excess = plane.side, plane.excess
    neither = np.maximum(excess, excess.T)
    areas = [axes.contourf(side, side, neither, levels=[-np.inf, 0], colors=["#dddddd"])]
    for left, colour in ((excess, _ONE), (excess.T, _TWO)):
        areas.append(axes.contourf(side, side, left, levels=[0, np.inf], colors=[colour], alpha=0.3))
    for area in areas:
        area.set_rasterized(True)
    for line, colour in zip(plane.lines(), (_ONE, _TWO)):
        axes.plot(*line.T, color=colour, linestyle="--", linewidth=1.3)
    low, high = side[0], side[-1]
    for name, share in (("1", (0.84, 0.1)), ("2", (0.16, 0.9))):
        colour = _ONE if name == "1" else _TWO
        # class 1 has the large cosine to W_1, and the small angle
        x, y = share if low < 0 else (1 - share[0], 1 - share[1])
        place = low + x * (high - low), low + y * (high - low)
        axes.text(*place, f"class {name}", ha="center", va="center", color=colour, fontsize=8.5, fontweight="bold")


def _plane_axes(axes: Any, row: int, *, first: bool) -> None:
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(True)
    if row == 0:
        axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel="cos θ₁", ylabel="cos θ₂" if first else "")
    else:
        ticks = {"ticks": [0, np.pi / 2, np.pi], "labels": ["0°", "90°", "180°"]}
        axes.set_xticks(**ticks)
        axes.set_yticks(**ticks)
        axes.set(xlabel="θ₁", ylabel="θ₂" if first else "")


def _write_width(axes: Any, plane: Plane) -> None:
    """An arrow across the middle of the margin, with its measured length."""
    first, second = plane.lines()
    middle = np.abs(first.sum(axis=1) - 2 * plane.side.mean()).argmin()
    start, end = first[middle], second[middle]
    axes.annotate("", start, end, arrowprops={"arrowstyle": "<->", "color": "#222222", "shrinkA": 0, "shrinkB": 0})
    along = (start + end) / 2 + 0.17 * (plane.side[-1] - plane.side[0])
    text = f"√2·m = {np.linalg.norm(start - end):.3f}"
    axes.text(*along, text, rotation=45, ha="center", va="center", fontsize=8.5)


def margin_angle(between: np.ndarray, free: Mapping[str, np.ndarray]) -> Any:
    """The angle of the margin over the angle between two prototypes, in degrees."""
    figure = canvas(6.4, 4.2)
    axes = figure.add_subplot()
    for label, values in free.items():
        axes.plot(between, values, color=next(iter(colours([label]).values())), label=label)
    _angle_axis(axes.xaxis)
    axes.set(xlabel="angle between the class weights (degrees)", ylabel="angle of the margin (degrees)", xlim=(0, 180))
    axes.grid(color=PALE, linewidth=0.7)
    axes.legend()
    return figure


def embeddings(runs: Mapping[str, Trained]) -> Any:
    """Two-dimensional embeddings for each loss: training above, test below."""
    figure = canvas(3.1 * len(runs), 5.8)
    grid = figure.subplots(2, len(runs), squeeze=False)
    for column, (label, run) in enumerate(runs.items()):
        for axes, seen in zip(grid[:, column], (run.train, run.test)):
            _points(axes, seen.embeddings, seen.labels)
            # number the classes at their training centres in both rows
            _names(axes, run.train)
        wide, high = np.abs(run.train.embeddings).max(axis=0)
        limit = max(1.18 * wide, 1.4 * high)
        for axes in grid[:, column]:
            _bare(axes, limit, height=0.85 * limit)
        grid[0, column].set_title(label, color=colours(runs)[label], fontweight="bold", fontsize=11)
        grid[1, column].set_xlabel(f"‖x‖ up to {_longest(run):.0f}", color=GREY)
    for axes, name in zip(grid[:, 0], ("training", "test")):
        axes.set_ylabel(name, fontsize=10)
    return figure


def circles(runs: Mapping[str, Trained]) -> Any:
    """Two-dimensional embeddings for each loss, and their directions on training and test points."""
    figure = canvas(2.3 * len(runs), 7.4)
    grid = figure.subplots(3, len(runs), squeeze=False)
    for column, (label, run) in enumerate(runs.items()):
        top, middle, bottom = grid[:, column]
        _points(top, run.train.embeddings, run.train.labels)
        _bare(top, 1.05 * np.abs(run.train.embeddings).max())
        for axes, seen in ((middle, run.train), (bottom, run.test)):
            _rose(axes, seen)
            _bare(axes, 1.65)
        top.set_title(label, color=colours(runs)[label], fontweight="bold")
    for axes, name in zip(grid[:, 0], ("training, embeddings", "training, directions", "test, directions")):
        axes.set_ylabel(name, fontsize=10)
    return figure


def spheres(runs: Mapping[str, Trained]) -> Any:
    """Directions of three-dimensional embeddings of the test set for each loss, in Mollweide projection."""
    figure = canvas(11.5, 4.6)
    for number, (label, run) in enumerate(runs.items()):
        axes = figure.add_subplot(2, -(-len(runs) // 2), number + 1, projection="mollweide")
        x, y, z = directions(run.test.embeddings).T
        axes.scatter(np.arctan2(y, x), np.arcsin(z), c=_class_colours(run.test.labels), **_DOT)
        axes.set(xticklabels=[], yticklabels=[])
        axes.grid(color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(label, color=colours(runs)[label], fontweight="bold")
    return figure


_DOT = {"s": 7, "alpha": 0.65, "linewidths": 0, "rasterized": True}


def _class_colours(labels: np.ndarray) -> np.ndarray:
    return np.array(CLASSES)[labels]


def _points(axes: Any, points: np.ndarray, labels: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(len(points))  # so that no class covers the others
    axes.scatter(*points[order].T, c=_class_colours(labels[order]), **_DOT)


def _names(axes: Any, seen: Seen) -> None:
    """The number of each class, outside its points."""
    effects = load_optional("matplotlib.patheffects", EXTRA)
    lengths = np.linalg.norm(seen.embeddings, axis=1)
    reach = 1.08 * np.abs(seen.embeddings).max()
    for label, centre in enumerate(centres(seen.embeddings, seen.labels)):
        place = centre * min(lengths[seen.labels == label].max() + 0.12 * reach, reach / np.abs(centre).max())
        halo = [effects.withStroke(linewidth=3, foreground="white")]
        style = {"color": CLASSES[label], "fontweight": "bold", "fontsize": 11, "path_effects": halo}
        axes.text(*place, str(label), ha="center", va="center", **style)


def _rose(axes: Any, seen: Seen, bins: int = 120) -> None:
    """Directions on the unit circle, with an outward histogram of each class, and the centres of the classes."""
    turn = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(turn), np.sin(turn), color="#bbbbbb", linewidth=0.8, zorder=1)
    units = directions(seen.embeddings)
    angle = np.arctan2(units[:, 1], units[:, 0])
    edges = np.linspace(-np.pi, np.pi, bins + 1)
    for label, centre in enumerate(centres(seen.embeddings, seen.labels)):
        own = angle[seen.labels == label]
        height = 0.7 * np.sqrt(np.histogram(own, edges)[0] / len(own))
        axes.plot(*np.stack([np.zeros(2), centre], axis=1), color=CLASSES[label], linewidth=1, zorder=2)
        _wedges(axes, edges, height, CLASSES[label])


def _wedges(axes: Any, edges: np.ndarray, heights: np.ndarray, colour: str) -> None:
    inner = np.stack([np.cos(edges), np.sin(edges)], axis=1)
    corners = [
        [inner[i], inner[i + 1], (1 + height) * inner[i + 1], (1 + height) * inner[i]]
        for i, height in enumerate(heights)
        if height > 0
    ]
    collection = load_optional("matplotlib.collections", EXTRA).PolyCollection
    axes.add_collection(collection(corners, facecolors=colour, edgecolors="none", alpha=0.75, zorder=3))


def _bare(axes: Any, limit: float, height: float | None = None) -> None:
    """Axes through the origin instead of a frame."""
    height = limit if height is None else height
    axes.set(xlim=(-limit, limit), ylim=(-height, height), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.axhline(0, color=PALE, linewidth=0.7, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.7, zorder=0)


def _longest(run: Trained) -> float:
    return float(np.linalg.norm(run.train.embeddings, axis=1).max())


def learning(runs: Mapping[str, Sequence[Trained]]) -> Any:
    """Cross-entropy without the margin over the steps, on training and test, and test accuracy, for each loss."""
    figure = canvas(11.5, 3.6)
    train, test, accuracy = _row(figure, 3)
    for axes, name, title in ((train, "cross_entropy", "training"), (test, "test_cross_entropy", "test")):
        _over_steps(axes, runs, name)
        axes.set(title=f"{title}: cross-entropy without the margin", ylabel="nats")
    train.set_yscale("log")
    train.yaxis.set_major_formatter("{x:g}")
    test.set_ylim(0, None)
    train.legend()
    for place, (label, own) in enumerate(runs.items()):
        _dots(accuracy, place, [100 * run.test.accuracy for run in own], colours(runs)[label])
    accuracy.set_xticks(range(len(runs)), [label.replace(" m", "\nm") for label in runs])
    accuracy.set(title="test: accuracy", ylabel="%", xlim=(-0.5, len(runs) - 0.5))
    accuracy.grid(axis="y", color=PALE, linewidth=0.7)
    return figure


def confusions(counts: Mapping[str, np.ndarray]) -> Any:
    """Confusion matrices for each loss, in percent of the true class."""
    norm = load_optional("matplotlib.colors", EXTRA).PowerNorm(0.4, 0, 100)
    figure = canvas(3.1 * len(counts), 3.5)
    for axes, (label, matrix) in zip(_row(figure, len(counts)), counts.items()):
        share = 100 * matrix / matrix.sum(axis=1, keepdims=True)
        axes.imshow(share, cmap="Blues", norm=norm)
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.5:
                ink = "white" if value > 40 else "#222222"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
        ticks = range(len(matrix))
        axes.set(xticks=ticks, yticks=ticks, xlabel="predicted")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(label, color=colours(counts)[label], fontweight="bold")
    figure.axes[0].set_ylabel("true digit")
    return figure


def spreads(spread: Mapping[str, Mapping[str, Sequence[Spread]]]) -> Any:
    """Angles within and between classes on test for each loss, one panel per key (a dimension)."""
    figure = canvas(14.0, 3.8)
    for axes, (title, by_loss) in zip(_row(figure, len(spread)), spread.items()):
        colour = colours(by_loss)
        for place, (label, own) in enumerate(by_loss.items()):
            _dots(axes, place - 0.22, [found.within_mean for found in own], colour[label])
            _dots(axes, place, [found.within_p95 for found in own], colour[label], marker="^")
            _dots(axes, place + 0.22, [found.between_min for found in own], colour[label], marker="s")
        axes.set_xticks(range(len(by_loss)), [label.replace(" m", "\nm") for label in by_loss])
        axes.set(title=title, xlim=(-0.5, len(by_loss) - 0.5), ylim=(0, None))
        axes.grid(axis="y", color=PALE, linewidth=0.7)
    figure.axes[0].set_ylabel("degrees")
    for marker, name in (("o", "to the own centre, mean"), ("^", "to the own centre, 95 %"), ("s", "closest centres")):
        figure.axes[0].plot([], [], linestyle="", marker=marker, color=GREY, label=name)
    figure.axes[0].legend()
    return figure


def boundary_shares(runs: Mapping[str, Sequence[Trained]], warm_up: tuple[float, float]) -> Any:
    """The share of boundary samples of the training set over the steps, for each loss."""
    figure = canvas(6.4, 4.2)
    axes = figure.add_subplot()
    _over_steps(axes, runs, "boundary_share", scale=100)
    last = next(iter(runs.values()))[0].history[-1].step
    axes.axvspan(*(share * last for share in warm_up), color="#f2f2f2", zorder=0)
    axes.text(np.mean(warm_up) * last, 0.97, "the margin grows", transform=axes.get_xaxis_transform(), **_NOTE)
    axes.set(ylabel="boundary samples of the training set (%)", ylim=(0, None))
    axes.legend(loc="upper right")
    return figure


_NOTE = {"ha": "center", "va": "top", "color": GREY, "fontsize": 8.5}


def lengths(runs: Mapping[str, Sequence[Trained]]) -> Any:
    """‖x‖ over the steps for each loss: the mean, and the quartiles as a band."""
    figure = canvas(6.4, 4.2)
    axes = figure.add_subplot()
    _over_steps(axes, runs, "length")
    for label, own in runs.items():
        low, high = (_mean(own, name) for name in ("length_low", "length_high"))
        axes.fill_between(_steps(own), low, high, color=colours(runs)[label], alpha=0.15, linewidth=0)
    axes.set(ylabel="‖x‖ on the training set", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend()
    return figure


def _over_steps(axes: Any, runs: Mapping[str, Sequence[Trained]], name: str, scale: float = 1) -> None:
    """A number of the history, averaged over the seeds."""
    for label, own in runs.items():
        axes.plot(_steps(own), scale * _mean(own, name), color=colours(runs)[label], label=label)
    axes.set(xlabel="step", xlim=(0, _steps(own)[-1]))
    axes.grid(color=PALE, linewidth=0.7)


def _steps(runs: Sequence[Trained]) -> list[int]:
    return [moment.step for moment in runs[0].history]


def _mean(runs: Sequence[Trained], name: str) -> np.ndarray:
    return np.mean([[getattr(moment, name) for moment in run.history] for run in runs], axis=0)


def _dots(axes: Any, place: float, values: Sequence[float], colour: str, marker: str = "o") -> None:
    """A dot per seed, and a line at their mean."""
    axes.plot([place] * len(values), values, marker, color=colour, alpha=0.45, markersize=4, markeredgewidth=0)
    axes.plot([place - 0.09, place + 0.09], [np.mean(values)] * 2, color=colour, linewidth=2)


def _row(figure: Any, number: int) -> Sequence[Any]:
    axes: Sequence[Any] = figure.subplots(1, number, squeeze=False)[0]
    return axes


def _angle_axis(axis: Any) -> None:
    axis.set_ticks([0, 45, 90, 135, 180])
