"""VoxCeleb 1 and 2 in miniature: every layout and format, speaker tables, trial lists."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import _voxceleb, voxceleb1, voxceleb2
from data_prep._tree import Tree
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError
from spkver.trials import read_trials

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]

DEV = ["id10001/1zcIwhmdeo4/00001.wav", "id10001/1zcIwhmdeo4/00002.wav", "id11251/7gWzIy6yIIk/00001.wav"]
TEST = ["id10270/x6uYqmx31kE/00001.wav", "id10270/8jEAjG6SegY/00008.wav", "id10309/0cYFdtyWVds/00001.wav"]
META = [
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet",
    "id10001\tA.J._Buckley\tm\tIreland\tdev",
    "id10270\tEartha_Kitt\tf\tUSA\ttest",
    "id10309\tEzra_Miller\tm\tUSA\ttest",
    "id11251\tZulay_Henao\tf\tNew Zealand\tdev",
]
PAIRS = [f"1 {TEST[0]} {TEST[1]}", f"0 {TEST[0]} {TEST[2]}"]


@pytest.mark.parametrize(
    ("dev", "test"),
    [("wav/", "wav/"), ("dev/wav/", "test/wav/"), ("vox1_dev_wav/wav/", "vox1_test_wav/wav/"), ("", "")],
)
@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a"])
def test_voxceleb1_in_every_layout_and_format(
    tmp_path: Path, record: Record, prep: Prep, dev: str, test: str, suffix: str, write: Write
) -> None:
    names = [dev + name for name in DEV] + [test + name for name in TEST]
    root = record(tmp_path / "root", *(name[:-3] + suffix for name in names))
    write(root / "vox1_meta.csv", *META)
    write(root / "lists" / "veri_test2.txt", *PAIRS)
    write(root / "lists" / "list_test_all2.txt", f"1 {TEST[0]} id10777/absent/00001.wav", f"0 {TEST[0]} {TEST[2]}")
    out, _ = prep("voxceleb1", root, tmp_path / "data")
    assert f"{tmp_path}/data/dev: 3 utterances, 2 speakers\n" in out
    assert "list_test_all2.txt: not copied, 1 of its 3 recordings are missing, e.g. id10777/absent/" in out
    assert f"{tmp_path}/data/trials/O.txt: 2 trials, named as VoxCeleb1-O, cleaned, which has 37611" in out
    everyone = read_datadir(tmp_path / "data" / "all")
    assert everyone.ids == sorted(DEV + TEST)
    data = read_datadir(tmp_path / "data" / "test")
    assert data.ids == sorted(TEST)
    assert data.sessions == ["8jEAjG6SegY", "x6uYqmx31kE", "0cYFdtyWVds"]
    assert data.column("gender") == ["f", "f", "m"]
    assert read_datadir(tmp_path / "data" / "dev").column("nationality") == ["Ireland", "Ireland", "New_Zealand"]
    assert all(Path(path).is_file() and path.endswith(suffix) for path in everyone.paths)
    assert (tmp_path / "data" / "trials" / "O.txt").read_text() == "\n".join(PAIRS) + "\n"
    assert not (tmp_path / "data" / "trials" / "E.txt").exists()
    if suffix != "m4a":
        assert everyone.column("seconds") == pytest.approx([0.1] * 6)
        assert validate(tmp_path / "data" / "all") == []


def test_wav_is_preferred_to_m4a(tmp_path: Path, record: Record) -> None:
    root = record(tmp_path, *(f"a/id10001/v/00001.{suffix}" for suffix in ("m4a", "flac")), "b/id10001/v/00001.wav")
    record(root, "id10001/w/00002.m4a", "id10001/w/00002.flac")
    data = voxceleb1.prepare(Tree.read(root))["all"]
    assert data.ids == ["id10001/v/00001.wav", "id10001/w/00002.wav"]
    assert [Path(path).relative_to(root).as_posix() for path in data.paths] == [
        "b/id10001/v/00001.wav",
        "id10001/w/00002.flac",
    ]


def test_split_is_known_without_the_speaker_table(tmp_path: Path, record: Record, prep: Prep) -> None:
    root = record(tmp_path / "root", *DEV, *TEST)
    out, _ = prep("voxceleb1", root, tmp_path / "data", "--no-durations")
    assert "no vox1_meta.csv found; genders and nationalities are unknown" in out
    data = read_datadir(tmp_path / "data" / "test")
    assert (set(data.speakers), data.column("gender"), data.column("seconds")) == ({"id10270", "id10309"}, None, None)


@pytest.mark.parametrize("named", ["veri_test2.txt", "trials.txt", "veri_test.txt"])
@pytest.mark.parametrize(
    ("size", "name", "what"),
    [
        (37_720, "O_original", "VoxCeleb1-O, original; error rates differ"),
        (37_611, "O", "VoxCeleb1-O, cleaned"),
    ],
)
def test_lists_are_recognised_by_their_size(
    tmp_path: Path, named: str, size: int, name: str, what: str, write: Write
) -> None:
    file = write(tmp_path / named, *(PAIRS[number % 2] for number in range(size)))
    found, said = _voxceleb.identify(file)
    assert found == name
    assert said.startswith(what)
    assert ("the file is named" in said) == (named in {"O": "veri_test.txt", "O_original": "veri_test2.txt"}[name])
    assert len(read_trials(file)) == size


def test_unknown_list_is_kept_and_reported_as_unknown(tmp_path: Path, record: Record, prep: Prep, write: Write) -> None:
    mine = write(tmp_path / "mine.txt", *PAIRS)
    out, _ = prep("voxceleb1", record(tmp_path / "root", *TEST), tmp_path / "data", "--list", mine)
    assert f"{tmp_path}/data/trials/mine.txt: 2 trials, unknown list\n" in out


def test_list_of_another_size_is_recognised_by_its_name_only(tmp_path: Path, write: Write) -> None:
    assert _voxceleb.identify(write(tmp_path / "veri_test.txt", *PAIRS))[0] == "O_original"
    assert _voxceleb.identify(write(tmp_path / "mine.txt", *PAIRS)) == ("mine", "unknown list")


@pytest.mark.parametrize("meta", [True, False])
def test_voxceleb2_with_and_without_metadata(
    tmp_path: Path, record: Record, prep: Prep, meta: bool, write: Write
) -> None:
    names = ["dev/aac/id00012/21Uxsk56VDQ/00001.m4a", "dev/aac/id00012/2DLq_Kkc1r8/00016.m4a"]
    root = record(tmp_path / "root", *names, "test/aac/id00017/01dfn2spqyE/00001.m4a", "dev/aac/notes.m4a")
    if meta:  # with its blanks, as published
        rows = ["id00012 ,n000012 ,m ,dev ", "id00017 ,n000017 ,f ,test "]
        write(root / "vox2_meta.csv", "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set ", *rows)
    prep("voxceleb2", root, tmp_path / "data")
    dev, test = (read_datadir(tmp_path / "data" / part) for part in ("dev", "test"))
    assert dev.ids == ["id00012/21Uxsk56VDQ/00001.wav", "id00012/2DLq_Kkc1r8/00016.wav"]
    assert dev.paths[0] == str(root / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a")
    assert (test.speakers, test.column("gender")) == (["id00017"], ["f"] if meta else None)


def test_listing_replaces_the_search_for_files(tmp_path: Path, prep: Prep, write: Write) -> None:
    (tmp_path / "root").mkdir()
    paths = ["./dev/aac/id00012/a/00001.m4a", f"{tmp_path}/root/dev/aac/id00012/a/00002.m4a", "wav/id00013/b/00001.wav"]
    listing = write(tmp_path / "listing", *paths)
    prep("voxceleb2", tmp_path / "root", tmp_path / "data", "--files", listing, "--no-durations")
    assert read_datadir(tmp_path / "data" / "dev").paths == [
        f"{tmp_path}/root/{name}"
        for name in ("dev/aac/id00012/a/00001.m4a", "dev/aac/id00012/a/00002.m4a", "wav/id00013/b/00001.wav")
    ]
    for bad in ("/etc/passwd", "../up/id00012/a/00003.m4a", "wav/../../id00012/a/00001.wav", ".."):
        write(listing, paths[0], bad)
        _, err = prep("voxceleb2", tmp_path / "root", tmp_path / "data", "--files", listing, code=2)
        assert f"{listing}:2: '{bad}' is not a path below" in err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id10001,m"], r"vox1_meta\.csv:1: expected '"),
        ([META[0], "id10001\tA.J._Buckley"], r"vox1_meta\.csv:2: expected 5 columns, got 2"),
    ],
)
def test_invalid_table_is_named(tmp_path: Path, record: Record, lines: list[str], message: str, write: Write) -> None:
    root = record(tmp_path, *DEV)
    write(root / "vox1_meta.csv", *lines)
    with pytest.raises(InputError, match=message):
        voxceleb1.prepare(Tree.read(root))


def test_folder_without_the_corpus_is_rejected(tmp_path: Path, record: Record) -> None:
    root = record(tmp_path, *DEV)
    with pytest.raises(InputError, match=r"no recordings found; expected ROOT/\.\.\./id00012/VIDEO"):
        voxceleb2.prepare(Tree.read(root))


@pytest.mark.parametrize("module", ["voxceleb1", "voxceleb2"])
def test_download_says_what_to_do(tmp_path: Path, prep: Prep, module: str) -> None:
    _, err = prep(module, tmp_path, tmp_path / "data", "--download", code=2)
    assert "must be requested from its authors" in err
    assert "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/" in err
