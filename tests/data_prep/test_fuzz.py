"""Lists of any content: the corpus is prepared or the error is one line, never a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import cnceleb, commonvoice, librispeech, rirs, speechocean762, threedspeaker, vctk, voxceleb1, voxceleb2
from data_prep import kaldi as kaldi_directory
from data_prep._tree import Tree
from spkver.datadir import write_datadir
from spkver.errors import InputError

CN = {"dev/dev.lst": "id00000", "eval/lists/enroll.lst": "id00001-enroll enroll/id00001-enroll.wav"}
CN |= {"eval/lists/enroll.map": "id00001-enroll id00001/vlog-01-001.wav"}
CN |= {"eval/lists/trials.lst": "id00001-enroll test/id00001-vlog-02-001.wav 1"}
CN_FILES = ["data/id00000/vlog-01-001.wav", "data/id00001/vlog-01-001.wav", "eval/enroll/id00001-enroll.flac"]
VOX1 = {"vox1_meta.csv": "A ID\tB ID\tGender\tSet\nid10001\tx\tm\tdev"}
VOX2 = {"vox2_meta.csv": "A ID ,B ID ,Gender ,Set \nid00012 ,x ,m ,dev"}
WELSH = {
    "validated.tsv": "client_id\tpath\tgender\nx\ta.mp3\tmale",
    "clip_durations.tsv": "clip\tduration[ms]\na.mp3\t5",
}
LIBRI = {"SPEAKERS.TXT": "; x\n1 | F | dev-clean | 1 | A"}
REAL = "RIRS_NOISES/real_rirs_isotropic_noises"
SPK = "3D_SPK_00001_001_Device01_Distance01_Dialect01"
KALDI = {"wav.scp": "a WAVE/a.WAV", "utt2spk": "a s", "spk2gender": "s m", "spk2age": "s 9"}
OCEAN = {f"{part}/{name}": line for part in ("train", "test") for name, line in KALDI.items()}

# corpus: (function that prepares it, recordings, lists)
CORPORA: dict[str, tuple[Callable, list[str], dict[str, str]]] = {
    "voxceleb1": (voxceleb1.prepare, ["id10001/v/1.wav"], VOX1),
    "voxceleb2": (voxceleb2.prepare, ["id00012/v/1.m4a"], VOX2),
    "cnceleb": (cnceleb.prepare, CN_FILES, CN),
    "librispeech": (
        librispeech.prepare,
        ["dev-clean/1/2/1-2-3.flac"],
        LIBRI,
    ),
    "vctk": (vctk.prepare, ["wav48/p225/p225_001.wav"], {"speaker-info.txt": "p225 23 F English"}),
    "commonvoice": (commonvoice.prepare, ["clips/a.mp3"], WELSH),
    "threedspeaker": (threedspeaker.prepare, [f"test/{SPK}.wav"], {"trials_cross_device": f"{SPK} {SPK} target"}),
    "speechocean762": (speechocean762.prepare, ["WAVE/a.WAV"], OCEAN),
    "rirs": (rirs.prepare, [f"{REAL}/a.wav"], {f"{REAL}/rir_list": f"--rir-id 1 --room-id r {REAL}/a.wav"}),
}
LISTS = [(corpus, name) for corpus, (_, _, lists) in CORPORA.items() for name in lists]

marks = st.text(st.sampled_from('\t |,;.\n\r/id01\0\x85é\ufeff-"'), max_size=40)
junk = st.binary(max_size=60) | marks.map(str.encode)
kaldi_list = st.sampled_from(["wav.scp", "utt2spk", "segments", "utt2dur", "spk2gender"])


@pytest.mark.parametrize(("corpus", "name"), LISTS)
@settings(max_examples=15)
@given(content=junk, where=st.sampled_from(["instead", "after", "before"]))
def test_lists_of_any_content_give_data_or_one_line_errors(
    tmp_path_factory: pytest.TempPathFactory, corpus: str, name: str, content: bytes, where: str
) -> None:
    prepare, files, lists = CORPORA[corpus]
    root = tmp_path_factory.mktemp("fuzz")
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for other, text in lists.items():
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / other).write_text(text + "\n")
    whole = (root / name).read_bytes()
    (root / name).write_bytes({"instead": content, "after": whole + content, "before": content + whole}[where])
    with contextlib.suppress(InputError):
        parts = prepare(Tree.read(root, durations=False))
        for data in parts.values() if isinstance(parts, dict) else [parts]:
            write_datadir(root / "out", data)


@settings(max_examples=40)
@given(kaldi_list, junk, st.sampled_from([b"", b"u r 0 1\n"]))
def test_kaldi_directory_of_any_content_gives_data_or_one_line_errors(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes, before: bytes
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    for other, line in {"wav.scp": "r /x", "utt2spk": "u s", "segments": "u r 0 1"}.items():
        (root / other).write_text(line + "\n")
    (root / name).write_bytes(before + content)
    with contextlib.suppress(InputError):
        write_datadir(root / "out", kaldi_directory.prepare(root, allow_pipes=True))
