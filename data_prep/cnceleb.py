"""CN-Celeb 1 and 2 (OpenSLR 82): Chinese celebrities in 11 genres. Makes data directories and the trial list.

python -m data_prep.cnceleb ROOT OUT [--download]

ROOT holds CN-Celeb_flac/ (data/, dev/dev.lst, eval/{enroll,test,lists}), CN-Celeb2_flac/ (data/), or both, as flac or
wav. Writes, if present in ROOT,

    OUT/dev     the training speakers of CN-Celeb1 (dev.lst)
    OUT/cn2     CN-Celeb2, all of it for training
    OUT/eval    the evaluation part: enroll/, test/ and the source recordings of the enrolment
    OUT/trials/trials.lst, enroll.lst, enroll.map

The genre is in utt2genre, the session within a genre in utt2session. An enrolment model is one concatenated recording
(enroll.lst), or the recordings that it was concatenated from (enroll.map):

    spkver score OUT/trials/trials.lst eval.parquet scores --enrolment OUT/trials/enroll.map

Utterance ids of `eval` are those of the lists; all others are data/SPEAKER/FILE.
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import _corpus, _trials
from data_prep._download import Source, openslr
from data_prep._tree import Tree, join_words, look_up, or_null, with_columns
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.lists import read_lines
from spkver.trials import read_enrolment, read_trials

SOURCE = Source(
    home="https://www.openslr.org/82",
    licence="CC BY-SA 4.0",
    archives={
        "cn-celeb": openslr(82, "cn-celeb_v2.tar.gz", digest="md5:7ab1b214028a7439e26608b2d5a0336c"),
        "cn-celeb2": openslr(
            82,
            *(f"cn-celeb2_v2.tar.gza{piece}" for piece in "abc"),
            digest="md5:55c47cf0b6d0bf793e88bf79d5dfc660",
        ),
    },
)

_FILE = r"(?P<genre>[a-z_]+)-(?P<take>\d+)-\d+"
_EXPECTED = "ROOT/CN-Celeb_flac/data/id00000/GENRE-NN-NNN.flac"


def prepare(tree: Tree) -> dict[str, DataDir]:
    """The parts `dev`, `cn2` and `eval`, if present."""
    second = tree.match(rf"^(?:.*/)?(?P<corpus>CN-Celeb2[^/]*)/data/(?P<speaker>id\d+)/{_FILE}\.(?:flac|wav)$")
    first = tree.match(rf"^(?P<above>.*/|)data/(?P<speaker>id\d+)/{_FILE}\.(?:flac|wav)$")
    first = first.filter(pc.invert(pc.match_substring_regex(first["above"], r"CN-Celeb2[^/]*/$")))
    if not first.num_rows + second.num_rows:
        raise InputError(f"{tree.root}: no recordings found; expected {_EXPECTED}")
    parts = {}
    if first.num_rows:
        first = _described(first)
        trained = pc.is_in(first["speaker"], value_set=_training_speakers(tree))
        parts["dev"] = tree.data(first.filter(trained), f"{_EXPECTED}, for the speakers of dev/dev.lst")
        evaluated = _evaluation(tree, first.filter(pc.invert(trained)))
        if evaluated.num_rows:
            parts["eval"] = tree.data(evaluated, "ROOT/CN-Celeb_flac/eval/enroll/id00800-enroll.flac")
    if second.num_rows:
        parts["cn2"] = tree.data(_described(second), _EXPECTED)
    return parts


def lists(tree: Tree) -> Path | None:
    """The folder of the evaluation lists, or None."""
    found = tree.named("trials.lst")
    return found[0].parent if found else None


def _described(files: pa.Table) -> pa.Table:
    ids = pc.replace_substring_regex(files["name"], r"^(?:.*/)?(data/id\d+/)", r"\1")
    return with_columns(files, id=ids, session=_session(files))


def _session(files: pa.Table) -> pa.Array:
    return or_null(pc.utf8_trim(join_words(files["genre"], files["take"], between="-"), "-"))


def _training_speakers(tree: Tree) -> pa.Array:
    found = tree.named("dev.lst")
    if not found:
        raise InputError(f"{tree.root}: dev/dev.lst not found; it lists the training speakers of CN-Celeb1")
    return pc.ascii_trim_whitespace(read_lines(found[0]))


def _evaluation(tree: Tree, sources: pa.Table) -> pa.Table:
    """enroll/, test/ and the recordings of enroll.map, with the ids of the lists."""
    shown = tree.match(rf"^(?:.*/)?eval/(?P<id>(?:enroll|test)/(?P<speaker>id\d+)-(?:enroll|{_FILE})\.(?:flac|wav))$")
    shown = with_columns(shown, genre=or_null(shown["genre"]), session=_session(shown))
    sources = with_columns(sources, id=pc.replace_substring_regex(sources["id"], "^data/", ""))
    columns = ["name", "id", "speaker", "genre", "session"]
    files = pa.concat_tables([shown.select(columns), sources.select(columns)]).combine_chunks()
    folder = lists(tree)
    if folder is None:
        return files
    written = set(read_trials(folder / "trials.lst").test.unique().to_pylist())
    in_map = set[str]()
    for name in ("enroll.lst", "enroll.map"):
        named = {utterance for model in read_enrolment(folder / name).values() for utterance in model}
        written |= named
        in_map = named if name == "enroll.map" else in_map
    # the lists of the flac version may name .wav files
    spelt = look_up(_stem(files["id"]), {name.rpartition(".")[0]: name for name in written})
    files = with_columns(files, id=pc.coalesce(spelt, files["id"]))
    used = pc.or_(pc.starts_with(files["id"], "enroll/"), pc.starts_with(files["id"], "test/"))
    return files.filter(pc.or_(used, pc.is_in(files["id"], value_set=pa.array(sorted(in_map), pa.string()))))


def _stem(names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(names, r"\.[^./]+$", "")


@click.command()
@_corpus.command(SOURCE)
def command(tree: Tree, out: Path) -> None:
    """Make the data directories and trial list of CN-Celeb 1 and 2 in ROOT.

    \b
    Example: python -m data_prep.cnceleb corpora/cnceleb data/cnceleb --download
    """
    parts = prepare(tree)
    _corpus.write_parts(out, parts)
    folder = lists(tree)
    if folder is not None and "eval" in parts:
        for enrolment in ("enroll.lst", "enroll.map"):
            target = out / "trials" / "trials.lst"
            _trials.publish(folder / "trials.lst", target, parts["eval"], enrolment=folder / enrolment, what=enrolment)


if __name__ == "__main__":
    _corpus.main("cnceleb", command)
