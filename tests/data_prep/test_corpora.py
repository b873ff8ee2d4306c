"""VCTK, Common Voice, 3D-Speaker, MUSAN and room responses in miniature."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import commonvoice, musan, rirs, threedspeaker, vctk
from data_prep._tree import Tree
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]


def sound(*directories: Path) -> bool:
    return not any(problem.fatal for directory in directories for problem in validate(directory))


# --- VCTK -------------------------------------------------------------------------------------------------------------


def test_vctk_of_version_0_92(tmp_path: Path, record: Record, write: Write, prep: Prep) -> None:
    names = [f"p225/p225_00{number}_mic{mic}.flac" for number in (1, 2) for mic in (1, 2)]
    root = record(tmp_path / "root", *(f"wav48_silence_trimmed/{name}" for name in [*names, "s5/s5_001_mic1.flac"]))
    rows = ["ID  AGE  GENDER  ACCENTS  REGION COMMENTS ", "p225  23  F    English    Southern  England", "s5 18 M x"]
    write(root / "speaker-info.txt", *rows)
    prep("vctk", root, tmp_path / "data")
    data = read_datadir(tmp_path / "data")
    assert data.ids == [names[0], names[2], "s5/s5_001_mic1.flac"]
    assert (data.column("gender"), data.column("age")) == (["f", "f", "m"], ["23", "23", "18"])
    assert sound(tmp_path / "data")
    assert len(vctk.prepare(Tree.read(root), "mic2")) == 2
    assert len(vctk.prepare(Tree.read(root), "both")) == 5


def test_vctk_of_version_0_80(tmp_path: Path, record: Record, write: Write) -> None:
    root = record(tmp_path / "root", "VCTK-Corpus/wav48/p226/p226_001.wav")
    write(root / "VCTK-Corpus/speaker-info.txt", "226  22  M    English    Surrey")
    data = vctk.prepare(Tree.read(root))
    assert (data.ids, data.column("gender")) == (["p226/p226_001.wav"], ["m"])


# --- Common Voice -----------------------------------------------------------------------------------------------------

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"
CLIENT = {name: name * 128 for name in "ab"}
ROWS = [
    f'{CLIENT["a"]}\tcommon_voice_cy_1.mp3\t"Quoted, said he\t2\t0\ttwenties\tmale_masculine\t\tcy\t',
    f"{CLIENT['a']}\tcommon_voice_cy_2.mp3\tNA\t2\t0\ttwenties\tmale\t\tcy\t",
    f"{CLIENT['b']}\tcommon_voice_cy_3\tnull\t2\t1\t\t\t\tcy\t",  # as in an early release, without suffix
]


@pytest.fixture
def welsh(tmp_path: Path, record: Record, write: Write) -> Path:
    root = record(tmp_path / "cy", *(f"clips/common_voice_cy_{number}.mp3" for number in (1, 2, 3)))
    write(root / "validated.tsv", HEADER, *ROWS)
    write(root / "test.tsv", HEADER, *ROWS[2:])
    return root


def test_common_voice_gives_its_splits(tmp_path: Path, welsh: Path, prep: Prep) -> None:
    prep("commonvoice", welsh, tmp_path / "data")
    data = read_datadir(tmp_path / "data" / "validated")
    assert data.ids == [f"clips/common_voice_cy_{number}.mp3" for number in (1, 2, 3)]
    assert data.speakers == [CLIENT["a"], CLIENT["a"], CLIENT["b"]]
    assert data.column("gender") == ["m", "m", None]
    assert data.column("age") == ["twenties", "twenties", None]
    assert data.column("language") == ["cy"] * 3
    assert data.column("seconds") == pytest.approx([0.1] * 3, abs=0.1)
    assert sound(tmp_path / "data" / "validated", tmp_path / "data" / "test")
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"validated", "test"}
    said, _ = prep("commonvoice", welsh, tmp_path / "data", "--part", "test")
    assert said == f"{tmp_path}/data/test: 1 utterances, 1 speakers\n"


def test_common_voice_durations_are_used_if_published(welsh: Path, write: Write) -> None:
    write(welsh / "clip_durations.tsv", "clip\tduration[ms]", "common_voice_cy_2.mp3\t2500")
    assert commonvoice.prepare(Tree.read(welsh))["validated"].column("seconds") == [None, 2.5, None]
    write(welsh / "clip_durations.tsv", "clip\tduration[ms]", "common_voice_cy_2.mp3\tlong")
    with pytest.raises(InputError, match=r"clip_durations\.tsv: expected 'clip, duration\[ms\]'"):
        commonvoice.prepare(Tree.read(welsh))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [HEADER, ROWS[0], f"{CLIENT['a']}\t../../secret.mp3" + "\t" * 8],
            r"validated\.tsv:3: '../../secret.mp3' is not",
        ),
        ([HEADER, f"{CLIENT['a']}\t/etc/passwd" + "\t" * 8], r"validated\.tsv:2: '/etc/passwd' is not a path below"),
        ([HEADER.replace("path", "file"), *ROWS], r"validated\.tsv:1: no column 'path'; the columns are client_id"),
        ([HEADER, "a\tb"], r"validated\.tsv: not a tab-separated table"),
    ],
)
def test_invalid_table_of_common_voice_is_named(welsh: Path, write: Write, lines: list[str], message: str) -> None:
    write(welsh / "validated.tsv", *lines)
    with pytest.raises(InputError, match=message):
        commonvoice.prepare(Tree.read(welsh))


def test_common_voice_needs_the_folder_of_one_language(tmp_path: Path, welsh: Path, prep: Prep) -> None:
    _, err = prep("commonvoice", tmp_path, tmp_path / "data", code=2)
    assert "expected the folder of one language" in err
    _, err = prep("commonvoice", tmp_path, tmp_path / "data", "--download", code=2)
    assert "after accepting its terms" in err and "mozilla" in err


# --- 3D-Speaker -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["{}", "{}.wav", "3D_SPK_06154/{}.wav"])
def test_threedspeaker_gives_splits_and_trials(
    tmp_path: Path, record: Record, write: Write, prep: Prep, written: str
) -> None:
    test = [f"3D_SPK_06154_001_Device0{device}_Distance00_Dialect00" for device in (3, 6)]
    names = ["train/3D_SPK_00001/3D_SPK_00001_001_Device01_Distance02_Dialect05.wav"]
    root = record(tmp_path / "root", *names, *(f"test/3D_SPK_06154/{name}.wav" for name in test))
    trials = write(root / "files/trials_cross_device", " ".join([*(written.format(name) for name in test), "target"]))
    prep("threedspeaker", root, tmp_path / "data")
    train, data = (read_datadir(tmp_path / "data" / part) for part in ("train", "test"))
    assert train.ids == ["3D_SPK_00001_001_Device01_Distance02_Dialect05"]
    assert train.column("genre") == ["Dialect05"]
    assert data.ids == [written.format(name) for name in test]
    assert (data.speakers, data.sessions) == (["3D_SPK_06154"] * 2, ["001"] * 2)
    assert (tmp_path / "data/trials/trials_cross_device").read_bytes() == trials.read_bytes()
    assert sound(tmp_path / "data" / "test")
    assert set(threedspeaker.prepare(Tree.read(root))["test"].ids) == set(data.ids)


# --- to mix in --------------------------------------------------------------------------------------------------------


def test_musan_gives_music_noise_and_speech(tmp_path: Path, record: Record, write: Write, prep: Prep) -> None:
    names = ["music/fma/music-fma-0000.wav", "noise/free-sound/noise-free-sound-0000.wav"]
    names += ["noise/sound-bible/noise-sound-bible-0001.wav", "speech/librivox/speech-librivox-0000.wav"]
    root = record(tmp_path / "root", *(f"musan/{name}" for name in names))
    write(root / "musan/noise/free-sound/ANNOTATIONS", "noise-free-sound-0000 footsteps")
    prep("musan", root, tmp_path / "data")
    assert [read_datadir(tmp_path / "data" / kind).ids for kind in musan.KINDS] == [names[:1], names[1:3], names[3:]]
    assert read_datadir(tmp_path / "data" / "noise").sessions == ["free-sound", "sound-bible"]
    assert sound(*(tmp_path / "data" / kind for kind in musan.KINDS))


def test_rirs_gives_measured_and_simulated_responses(tmp_path: Path, record: Record, write: Write, prep: Prep) -> None:
    real = "RIRS_NOISES/real_rirs_isotropic_noises"
    simulated = "smallroom/Room001/Room001-00001.wav"
    response, noise = "RVB2014_type1_rir_largeroom1_far_angla.wav", "RVB2014_type1_noise_largeroom1_1.wav"
    names = [f"{real}/{response}", f"{real}/{noise}", "RIRS_NOISES/pointsource_noises/noise-free-sound-0000.wav"]
    names += [f"RIRS_NOISES/simulated_rirs/{simulated}", f"simulated_rirs_16k/{simulated}"]
    root = record(tmp_path / "root", *names)
    write(root / real / "rir_list", f"--rir-id 00001 --room-id RVB2014_largeroom1 {real}/{response} ")
    write(root / "RIRS_NOISES/simulated_rirs/smallroom/rir_list", "--rir-id x --room-id y z.wav")
    prep("rirs", root, tmp_path / "data")
    found = {path.name: read_datadir(path) for path in (tmp_path / "data").iterdir()}
    assert {name: (data.ids, data.speakers) for name, data in found.items()} == {
        "real": ([f"real_rirs_isotropic_noises/{response}"], ["RVB2014_largeroom1"]),
        "isotropic": ([f"real_rirs_isotropic_noises/{noise}"], ["noise"]),
        "pointsource": (["pointsource_noises/noise-free-sound-0000.wav"], ["noise"]),
        "simulated": ([f"simulated_rirs/{simulated}"], ["smallroom-Room001"]),
        "simulated_16k": ([f"simulated_rirs_16k/{simulated}"], ["smallroom-Room001"]),
    }
    assert sound(*(tmp_path / "data" / name for name in found))
    write(root / real / "rir_list", f"--rir-id 00001 {real}/{response}")
    with pytest.raises(InputError, match="rir_list:1: expected '--rir-id ID --room-id ROOM PATH'"):
        rirs.prepare(Tree.read(root))
    (root / real / "rir_list").unlink()
    with pytest.raises(InputError, match="real_rirs_isotropic_noises/rir_list not found"):
        rirs.prepare(Tree.read(root))


@pytest.mark.parametrize("prepare", [vctk.prepare, threedspeaker.prepare, musan.prepare, rirs.prepare])
def test_folder_without_the_corpus_is_rejected(tmp_path: Path, record: Record, prepare: Callable) -> None:
    with pytest.raises(InputError, match="no recordings found; expected ROOT/"):
        prepare(Tree.read(record(tmp_path, "holidays/a.wav")))
