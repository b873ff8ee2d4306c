"""Trial lists and score files: the field's text forms, CSV and Parquet, read and joined by column.

A trial asks whether the speaker of `test` is that of `enrol`. Text lists are read in four forms, told apart by their
first line and then required of every line:

    1 enrol test                    VoxCeleb
    enrol test target|nontarget     Kaldi
    enrol test 1|0                  CN-Celeb
    enrol test                      without labels

A score file is `enrol test score`, with the label as a fourth column where it is known. `.csv` and `.parquet` files
hold the columns enrol, test, target and score by these names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, write_text

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ENROL, _TEST, _SCORE = r"(?P<enrol>\S+)", r"(?P<test>\S+)", rf"(?P<score>{_NUMBER})"
_TRIAL_FORMS = {
    "1|0 enrol test": ["(?P<target>[01])", _ENROL, _TEST],
    "enrol test target|nontarget": [_ENROL, _TEST, "(?P<target>target|nontarget)"],
    "enrol test 1|0": [_ENROL, _TEST, "(?P<target>[01])"],
    "enrol test": [_ENROL, _TEST],
}
_SCORE_FORMS = {
    "enrol test score": [_ENROL, _TEST, _SCORE],
    "enrol test score target|nontarget": [_ENROL, _TEST, _SCORE, "(?P<target>target|nontarget|[01])"],
}


@dataclass(frozen=True)
class Trials:
    """A trial list, one row per trial.

    enrol, test: ids, Arrow strings; target: bool (trials,), or None where the list has no labels
    """

    enrol: pa.Array
    test: pa.Array
    target: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.enrol) != len(self.test) or (self.target is not None and self.target.shape != (len(self.enrol),)):
            raise InputError("a trial list needs one enrolment id, one test id and one label for each trial")

    def __len__(self) -> int:
        return len(self.enrol)


@dataclass(frozen=True)
class Scores:
    """A score for each trial of a list, higher for the same speaker; values: finite float32 (trials,)."""

    trials: Trials
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.trials),):
            raise InputError(f"{len(self.values)} scores for {len(self.trials)} trials")

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def labels(self) -> np.ndarray:
        """The trials' labels, bool (trials,). Raises InputError where they are not known."""
        if self.trials.target is None:
            raise InputError("the scores have no labels: give the trial list that has them")
        return self.trials.target


def read_trials(path: StrPath) -> Trials:
    """Read a trial list (text, .csv or .parquet).

    Raises InputError with the file and the line that does not have the list's form.
    """
    return _trials(path, _columns(path, _TRIAL_FORMS, needed=("enrol", "test")))


def write_trials(path: StrPath, trials: Trials) -> None:
    """Write a trial list: .parquet, .csv, or text as `enrol test target|nontarget`."""
    _write(path, {"enrol": trials.enrol, "test": trials.test}, trials.target)


def read_scores(path: StrPath) -> Scores:
    """Read a score file (text, .csv or .parquet), with its labels where it has them.

    Raises InputError with the file and the line that is not `enrol test score`, or whose score is not finite.
    """
    columns = _columns(path, _SCORE_FORMS, needed=("enrol", "test", "score"))
    values = _numbers(path, columns["score"])
    return Scores(_trials(path, columns), values)


def write_scores(path: StrPath, scores: Scores) -> None:
    """Write a score file: .parquet, .csv, or text as `enrol test score`, then the label where it is known.

    Text holds the fewest digits that read back as the same float32.
    """
    values = pa.array(np.asarray(scores.values, np.float32))
    columns = {"enrol": scores.trials.enrol, "test": scores.trials.test, "score": values}
    _write(path, columns, scores.trials.target)


def read_enrolment(path: StrPath) -> dict[str, list[str]]:
    """Read a map from enrolment models to utterances, one model a line: `model utterance utterance ...` (spk2utt).

    Raises InputError with the file and line, or the model that is given twice.
    """
    columns = lists.read_columns(path, ["model", "utterances"], rest=True)
    if (twice := lists.first_duplicate(columns["model"])) is not None:
        raise InputError(f"{path}: the model '{twice}' is given twice")
    return dict(zip(columns["model"].to_pylist(), pc.utf8_split_whitespace(columns["utterances"]).to_pylist()))


def join(scores: Scores, trials: Trials, names: tuple[str, str] = ("the scores", "the trial list")) -> Scores:
    """The scores in the order of a trial list, with the list's labels; rows are matched by (enrol, test).

    Raises InputError, naming the first, for trials without a score, scores without a trial, and a trial that is scored
    or labelled in two ways. `names` are the two inputs' names in these messages.
    """
    own = scores.trials
    if own.enrol.equals(trials.enrol) and own.test.equals(trials.test):
        rows = np.arange(len(trials))
    else:
        rows = _match(scores, trials, names)
    values = scores.values[rows]
    if trials.target is None:
        target = None if own.target is None else own.target[rows]
        return Scores(Trials(trials.enrol, trials.test, target), values)
    if own.target is not None:
        _refuse(
            own.target[rows] != trials.target, trials, f"trials labelled otherwise in {names[0]} than in {names[1]}"
        )
    return Scores(trials, values)


def check(trials: Trials) -> list[str]:
    """What is odd about a trial list, one line each: trials given twice, of a recording with itself, or both labels."""
    (keys,) = _keys(trials)
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(keys), bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    found = [
        (again, "given more than once"),
        (pc.equal(trials.enrol, trials.test).to_numpy(zero_copy_only=False), "of a recording with itself"),
    ]
    if trials.target is not None:
        # twice the same key with another label: the label differs from that of the key's neighbour in the sort
        labelled = np.lexsort((trials.target, keys))
        both = np.zeros(len(keys), bool)
        same_key = keys[labelled[1:]] == keys[labelled[:-1]]
        both[labelled[1:]] = same_key & (trials.target[labelled[1:]] != trials.target[labelled[:-1]])
        found.append((both, "labelled both target and nontarget"))
    return [f"{_count(odd, trials)} {what}" for odd, what in found if odd.any()]


def make_trials(
    ids: Sequence[str],
    speakers: Sequence[str],
    sessions: Sequence[str] | None = None,
    *,
    nontargets: int,
    seed: int,
    across_sessions: bool = False,
    groups: Sequence[str] | None = None,
) -> Trials:
    """All target pairs and a random choice of non-target pairs of a set of utterances.

    ids, speakers, sessions, groups: one for each utterance; the list depends on their set and the seed, not their order
    nontargets: how many non-target pairs to draw, without repetition
    across_sessions: take only target pairs whose utterances are of different sessions
    groups: take only non-target pairs of the same group (gender, pitch class); a speaker belongs to one group
    Pairs are unordered: enrol comes before test in byte order, no utterance meets itself, the list is sorted.
    Raises InputError where there are fewer pairs than asked for.
    """
    table = _utterances(ids, speakers, sessions, groups)
    speaker_end = _run_ends(table["group"], table["speaker"])
    rows = np.arange(len(ids))
    partner = _run_ends(table["group"], table["speaker"], table["session"]) if across_sessions else rows + 1
    count = int((speaker_end - partner).sum())
    if not count:
        across = " across sessions" if across_sessions else ""
        raise InputError(f"no speaker has two utterances{across}: there are no target trials to make")
    same = _pairs(partner, speaker_end, np.arange(count))
    group_end = _run_ends(table["group"])
    available = int((group_end - speaker_end).sum())
    if not 0 < nontargets <= available:
        raise InputError(f"{nontargets} non-target trials asked for, between 1 and {available} can be made")
    chosen = np.random.default_rng(seed).choice(available, nontargets, replace=False)
    different = _pairs(speaker_end, group_end, chosen)

    names = pc.take(pa.array(ids, pa.string()), pa.array(table["row"]))
    rank = np.empty(len(ids), np.int64)  # of each row's id in byte order
    rank[pc.sort_indices(names).to_numpy()] = rows
    one, other = np.concatenate([same, different], axis=1)
    one, other = np.where(rank[one] < rank[other], (one, other), (other, one))
    order = np.lexsort((rank[other], rank[one]))
    target = (np.arange(len(order)) < count)[order]
    return Trials(names.take(pa.array(one[order])), names.take(pa.array(other[order])), target)


# --- pairs -----------------------------------------------------------------------------------------------------------


def _utterances(
    ids: Sequence[str], speakers: Sequence[str], sessions: Sequence[str] | None, groups: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Codes of group, speaker and session, and the row of `ids`, sorted by (group, speaker, session, id)."""
    given = {"speaker": speakers, "session": sessions, "group": groups}
    for name, values in given.items():
        if values is not None and len(values) != len(ids):
            raise InputError(f"{len(ids)} ids but {len(values)} {name}s")
    names = pa.array(ids, pa.string())
    if (twice := lists.first_duplicate(names)) is not None:
        raise InputError(f"the utterance '{twice}' is given twice")
    if sessions is None:
        given["session"] = given["speaker"]
    codes = {name: _ranks(values, len(ids)) for name, values in given.items()}
    order = np.lexsort((_ranks(ids, len(ids)), codes["session"], codes["speaker"], codes["group"]))
    table = {name: code[order] for name, code in codes.items()}
    pairs = np.unique(np.stack([codes["speaker"], codes["group"]]), axis=1)[0]
    if len(ids) and len(np.unique(pairs)) < len(pairs):
        raise InputError("a speaker belongs to two groups: give every speaker one")
    return {**table, "row": order}


def _ranks(values: Sequence[str] | None, size: int) -> np.ndarray:
    """The rank of each value among the distinct values in byte order; 0 for all where there are none."""
    if values is None:
        return np.zeros(size, np.int64)
    return pc.rank(pa.array(values, pa.string()), tiebreaker="dense").to_numpy().astype(np.int64)


def _run_ends(*codes: np.ndarray) -> np.ndarray:
    """For each row, the end (exclusive) of the run of rows that agree with it in every code."""
    changes = np.any([code[1:] != code[:-1] for code in codes], axis=0)
    ends = np.append(np.flatnonzero(changes) + 1, len(codes[0]))
    return np.repeat(ends, np.diff(ends, prepend=0))


def _pairs(first: np.ndarray, end: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The pairs of given numbers, when row i is paired with rows first[i] to end[i], numbered one after the other."""
    total = np.cumsum(end - first)
    one = np.searchsorted(total, which, side="right")
    return np.stack([one, end[one] - (total[one] - which)])


# --- keys ------------------------------------------------------------------------------------------------------------


def _keys(*parts: Trials) -> list[np.ndarray]:
    """One integer for each (enrol, test) of each list, equal where the pairs are equal."""
    known = pc.unique(pa.chunked_array([column for part in parts for column in (part.enrol, part.test)], pa.string()))
    return [
        pc.index_in(part.enrol, value_set=known).to_numpy().astype(np.int64) * len(known)
        + pc.index_in(part.test, value_set=known).to_numpy()
        for part in parts
    ]


def _match(scores: Scores, trials: Trials, names: tuple[str, str]) -> np.ndarray:
    """For each trial, the row of its score."""
    scored, wanted = _keys(scores.trials, trials)
    order = np.argsort(scored, kind="stable")
    ranked = scored[order]
    place = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
    _refuse(ranked[place] != wanted, trials, f"trials of {names[1]} have no score in {names[0]}")
    _refuse(~np.isin(scored, wanted), scores.trials, f"trials of {names[0]} are not in {names[1]}")
    twice = np.zeros(len(scored), bool)
    value = scores.values[order]
    twice[order[1:]] = (ranked[1:] == ranked[:-1]) & (value[1:] != value[:-1])
    _refuse(twice, scores.trials, f"trials have two different scores in {names[0]}")
    rows: np.ndarray = order[place]
    return rows


def _refuse(bad: np.ndarray, trials: Trials, what: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        first = f"'{trials.enrol[row]} {trials.test[row]}'"
        raise InputError(f"{np.count_nonzero(bad)} of {len(bad)} {what}, first {first}")


def _count(odd: np.ndarray, trials: Trials) -> str:
    row = int(np.argmax(odd))
    return f"{np.count_nonzero(odd)} of {len(odd)} trials, first '{trials.enrol[row]} {trials.test[row]}',"


# --- files -----------------------------------------------------------------------------------------------------------


def _columns(path: StrPath, forms: dict[str, list[str]], needed: tuple[str, ...]) -> dict[str, pa.Array]:
    """The columns of a list of one of these forms; ids are there, not empty, and there is at least one row."""
    suffix = Path(path).suffix
    if suffix in (".csv", ".parquet"):
        table = _read_parquet(path) if suffix == ".parquet" else _read_csv(path)
        for name in needed:
            if name not in table.column_names:
                raise InputError(f"{path}: no column '{name}', it has {', '.join(table.column_names)}")
        columns = {
            name: table.column(name).combine_chunks() for name in [*needed, "target"] if name in table.column_names
        }
        for name, column in columns.items():
            _check_whole(path, name, column)
        columns |= {name: columns[name].cast(pa.string()) for name in ("enrol", "test")}
    else:
        columns = _read_text(path, forms)
    if not len(columns["enrol"]):
        raise InputError(f"{path}: there are no trials in it")
    return columns


def _read_text(path: StrPath, forms: dict[str, list[str]]) -> dict[str, pa.Array]:
    lines = lists.read_lines(path)
    if not len(lines):
        raise InputError(f"{path}: there are no trials in it")
    patterns = {name: r"^\s*" + r"\s+".join(fields) + r"\s*$" for name, fields in forms.items()}
    fitting = [name for name in forms if pc.match_substring_regex(lines[:1], patterns[name])[0].as_py()]
    if not fitting:
        known = ", ".join(f"'{name}'" for name in forms)
        raise InputError(f"{path}:1: expected one of {known}, got {lines[0].as_py()[:80]!r}")
    parsed = {name: pc.extract_regex(lines, pattern=patterns[name]) for name in fitting}
    whole = [name for name in fitting if not parsed[name].null_count]
    if not whole:
        row = pc.index(pc.is_null(parsed[fitting[0]]), True).as_py()
        raise InputError(f"{path}:{row + 1}: expected '{fitting[0]}' as on line 1, got {lines[row].as_py()[:80]!r}")
    if len(whole) > 1:
        raise InputError(f"{path}: every line fits both '{whole[0]}' and '{whole[1]}': give a .csv with a header")
    struct = parsed[whole[0]]
    return {field.name: pc.struct_field(struct, [field.name]) for field in struct.type}


def _read_csv(path: StrPath) -> pa.Table:
    try:
        # as text, so that the id 007 stays 007; on one thread, so that errors know their row
        as_text = dict.fromkeys(("enrol", "test", "target", "score"), pa.string())
        return pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=as_text),
        )
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a CSV file with a header ({error})") from error


def _read_parquet(path: StrPath) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()  # read_table would take columns from directories named `a=b`
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from error


def _check_whole(path: StrPath, name: str, column: pa.Array) -> None:
    missing = pc.is_null(column)
    if pa.types.is_string(column.type):
        missing = pc.or_(missing, pc.equal(pc.fill_null(column, ""), ""))
    if (row := pc.index(missing, True).as_py()) >= 0:
        raise InputError(f"{_line(path, row)}: the column '{name}' is empty")


def _trials(path: StrPath, columns: dict[str, pa.Array]) -> Trials:
    target = _labels(path, columns["target"]) if "target" in columns else None
    return Trials(columns["enrol"], columns["test"], target)


def _labels(path: StrPath, column: pa.Array) -> np.ndarray:
    if not pa.types.is_boolean(column.type):
        text = pc.utf8_lower(column.cast(pa.string()))
        known = pc.is_in(text, value_set=pa.array(["target", "nontarget", "1", "0", "true", "false"]))
        if (row := pc.index(known, False).as_py()) >= 0:
            raise InputError(f"{_line(path, row)}: expected target or nontarget (or 1 or 0), got '{column[row]}'")
        column = pc.is_in(text, value_set=pa.array(["target", "1", "true"]))
    labels: np.ndarray = column.to_numpy(zero_copy_only=False)
    return labels


def _numbers(path: StrPath, column: pa.Array) -> np.ndarray:
    """Finite float32 values of a column of numbers, or of text that holds numbers."""
    bad = pa.array(np.zeros(len(column), bool))
    if pa.types.is_string(column.type):
        bad = pc.invert(pc.match_substring_regex(column, f"^{_NUMBER}$"))
    if not pc.any(bad).as_py():
        values: np.ndarray = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        bad = pa.array(~np.isfinite(values))
    if (row := pc.index(bad, True).as_py()) >= 0:
        raise InputError(f"{_line(path, row)}: the score {column[row]} is not a finite number")
    return values


def _line(path: StrPath, row: int) -> str:
    """The place of a row in messages: the file and its line (a CSV's header is line 1), or row of a Parquet file."""
    suffix = Path(path).suffix
    if suffix == ".parquet":
        return f"{path}: row {row + 1}"
    return f"{path}:{row + (2 if suffix == '.csv' else 1)}"


def _write(path: StrPath, columns: dict[str, pa.Array], target: np.ndarray | None) -> None:
    suffix = Path(path).suffix
    if suffix == ".parquet":
        table = pa.table(columns | ({} if target is None else {"target": pa.array(target)}))
        with atomic_file(path) as part:
            pq.write_table(table, part)
        return
    text = {name: column.cast(pa.string()) for name, column in columns.items()}
    if target is not None:
        text["target"] = pc.if_else(pa.array(target), "target", "nontarget")
    if suffix == ".csv":
        with atomic_file(path) as part:
            pyarrow.csv.write_csv(pa.table(text), part, pyarrow.csv.WriteOptions(quoting_style="needed"))
        return
    for name in ("enrol", "test"):
        if (row := pc.index(pc.match_substring_regex(text[name], r"\s"), True).as_py()) >= 0:
            raise InputError(f"the id '{text[name][row]}' holds a blank: write {path} as .csv or .parquet")
    write_text(path, "\n".join(pc.binary_join_element_wise(*text.values(), " ").to_pylist()) + "\n")
