"""All embedding formats: each one returns what was written, and an error about a damaged file names it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spkver.embeddings import DTYPES, Embeddings, pack_vectors, read_embeddings, unpack_vectors, write_parts
from spkver.errors import InputError
from spkver.formats import hdf5
from spkver.formats.convert import FORMS, convert, lowest_cosine, read, write
from spkver.formats.means import means

h5py = pytest.importorskip("h5py")
faiss = pytest.importorskip("faiss")

ALL = ["e.parquet", "e.npz", "e.h5", "e.jsonl", "e.safetensors", "e.faiss"]
BARE = ["e.npy", "e.ark", "e.scp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forms")


texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
values = st.floats(-1e4, 1e4, width=32).map(lambda value: value if abs(value) > 1e-30 else 0.0)


@st.composite
def embeddings(draw):
    rows, dim = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    vectors = draw(arrays.arrays(np.float32, (rows, dim), elements=values))
    windows = draw(st.booleans())
    ids = draw(st.lists(texts, min_size=rows, max_size=rows, unique=not windows))
    speakers = draw(st.none() | st.lists(texts | st.just(""), min_size=rows, max_size=rows))
    starts = draw(st.lists(st.floats(0, 1e5), min_size=rows, max_size=rows, unique=True))
    times = np.array([[start, start + 1.5] for start in starts]) if windows else None
    front_end = {"bins": 80, "window": "povey"}
    return Embeddings(ids, vectors, speakers, draw(st.sampled_from(["", "abc"])), front_end, times)


def known(speakers):
    return speakers if speakers is not None and any(speakers) else None


@pytest.mark.parametrize("name", ALL)
def test_lossless_formats_return_everything(folder, name):
    @settings(max_examples=6 if name == "e.h5" else 25)  # a file of HDF5 is read by a process of its own
    @given(embeddings())
    def check(given_embeddings):
        return_everything(folder / name, given_embeddings)

    check()


def return_everything(path, given_embeddings):
    if path.name == "e.faiss" and not given_embeddings.vectors.any(axis=1).all():
        with pytest.raises(InputError, match="norm zero"):
            write(path, given_embeddings)
        return
    write(path, given_embeddings)
    found = read(path, windows=True)
    assert (found.ids, found.model, found.front_end) == (
        given_embeddings.ids,
        given_embeddings.model,
        given_embeddings.front_end,
    )
    assert known(found.speakers) == known(given_embeddings.speakers)
    if given_embeddings.times is None:
        assert found.times is None
    else:
        np.testing.assert_array_equal(found.times, given_embeddings.times)
        with pytest.raises(InputError, match="windows; average them per recording"):
            read(path)
    if FORMS[path.suffix].exact:
        np.testing.assert_array_equal(found.vectors, given_embeddings.vectors)
    else:
        np.testing.assert_allclose(found.vectors, given_embeddings.vectors, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("name", BARE)
@settings(max_examples=15)
@given(embeddings())
def test_formats_of_vectors_return_ids_and_vectors(folder, name, given_embeddings):
    path = folder / name
    if given_embeddings.times is not None:
        with pytest.raises(InputError, match=r"cannot hold windows: use \.parquet"):
            write(path, given_embeddings)
        return
    write(path, given_embeddings)
    found = read(path)
    assert found.ids == given_embeddings.ids
    np.testing.assert_array_equal(found.vectors, given_embeddings.vectors)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("name", [*ALL, "e.npy"])
def test_float16_and_int8_lose_little(folder, name, dtype):
    path = folder / name
    source = folder / "wide.npz"
    vectors = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    write(source, Embeddings([f"i{row}" for row in range(200)], vectors, None, "abc"))
    if name == "e.npy" and dtype == "int8":
        with pytest.raises(InputError, match=r"e\.npy: cannot hold int8; known: float16, float32"):
            convert(source, path, dtype=dtype)
        return
    done = convert(source, path, dtype=dtype)
    found = read(path)
    assert done.cosine == lowest_cosine(done.embeddings, found)
    assert (0.99999 if dtype == "float16" else 0.9999) < done.cosine < 1
    if name != "e.faiss":  # its int8 has one scale per dimension
        np.testing.assert_array_equal(found.vectors, unpack_vectors(*pack_vectors(vectors, dtype)))
    if name != "e.jsonl":
        assert path.stat().st_size < (0.7 if dtype == "float16" else 0.45) * vectors.nbytes
    if name not in ("e.npy", "e.faiss"):  # rounding twice changes nothing
        write(folder / f"again{path.suffix}", found, dtype=dtype)
        np.testing.assert_array_equal(read(folder / f"again{path.suffix}").vectors, found.vectors)


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_int8_error_is_at_most_half_a_step(vectors):
    found = unpack_vectors(*pack_vectors(vectors, "int8"))
    steps = np.abs(vectors.astype(np.float64)).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - vectors.astype(np.float64)) <= 0.5001 * steps + 2e-43).all()


def test_float16_rejects_values_out_of_range(folder):
    large = Embeddings(["a"], np.float32([[1e6, 1]]))
    with pytest.raises(InputError, match=r"e\.npz: values exceed the range of float16"):
        write(folder / "e.npz", large, dtype="float16")


def made(rows=6, **more):
    vectors = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    return Embeddings([f"u{row}" for row in range(rows)], vectors, **more)


def test_faiss_index_finds_the_nearest_by_cosine(folder):
    one = made(50, speakers=["p"] * 50)
    write(folder / "n.faiss", one)
    index = faiss.read_index(str(folder / "n.faiss"))
    query = one.vectors[7] * 3 + 0.01
    units = one.vectors / np.linalg.norm(one.vectors, axis=1, keepdims=True)
    scores, rows = index.search((query / np.linalg.norm(query))[None], 3)
    expected = units @ query / np.linalg.norm(query)
    np.testing.assert_array_equal(rows[0], np.argsort(-expected)[:3])
    np.testing.assert_allclose(scores[0], np.sort(expected)[::-1][:3], rtol=1e-5)
    names = [json.loads(line) for line in (folder / "n.faiss.jsonl").read_text().splitlines()[1:]]
    assert names[rows[0][0]]["id"] == "u7"


def test_means_normalise_length_before_averaging():
    one = made(speakers=["p", "q", "p", "q", "q", "p"], model="abc")
    found = means(one, "speaker")
    units = one.vectors / np.linalg.norm(one.vectors, axis=1, keepdims=True)
    assert found.ids == found.speakers == ["p", "q"] and found.model == "abc"
    np.testing.assert_allclose(found.vectors, [units[[0, 2, 5]].mean(0), units[[1, 3, 4]].mean(0)], rtol=1e-5)
    with pytest.raises(InputError, match="the speaker of 'u0' is unknown"):
        means(made(), "speaker")
    with pytest.raises(InputError, match="the speaker of 'u2' is unknown"):
        means(made(speakers=["p", "q", "", "p", "q", "r"]), "speaker")


def test_means_per_utterance_average_windows(folder):
    times = np.array([[0, 1], [1, 2], [2, 3], [0, 1], [1, 2], [2, 3.5]])
    windows = Embeddings(["b", "b", "b", "a", "a", "a"], made().vectors, ["p"] * 3 + ["q"] * 3, "abc", {}, times)
    assert write_parts(folder / "w.parquet", [windows]) == 6
    done = convert(folder / "w.parquet", folder / "u.ark", per="utterance")
    assert done.embeddings.ids == ["b", "a"] and done.embeddings.speakers == ["p", "q"] and done.cosine is None
    units = windows.vectors / np.linalg.norm(windows.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(read(folder / "u.ark").vectors[1], units[3:].mean(0), rtol=1e-5)


def test_embeddings_reject_invalid_window_times():
    for times in ([[0, 1], [0, 1]], [[0, 1], [2, 2]], [[0, 1], [2, np.nan]], [[0, 1]]):
        with pytest.raises(InputError, match=r"two embeddings|a later end"):
            Embeddings(["a", "a"], made(2).vectors, times=np.array(times, float))


def test_write_parts_writes_one_parquet_file(tmp_path):
    one = made(10)
    parts = [Embeddings(one.ids[k : k + 4], one.vectors[k : k + 4]) for k in range(0, 10, 4)]
    assert write_parts(tmp_path / "p.parquet", parts) == 10
    np.testing.assert_array_equal(read_embeddings(tmp_path / "p.parquet").vectors, one.vectors)


# --- files of other toolkits, and damaged files -----------------------------------------------------------------------


def test_hdf5_with_one_dataset_per_id_is_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["s1/a"], file["s1/b"] = np.eye(2)
    found = read(tmp_path / "x.h5")
    assert found.ids == ["s1/a", "s1/b"]
    np.testing.assert_array_equal(found.vectors, np.eye(2))


@pytest.mark.parametrize(
    ("child", "message"),
    [("import os; os.abort()", "HDF5 ended with code"), ("import time; time.sleep(60)", "did not end in 1 s")],
)
def test_hdf5_reader_reports_a_crash_or_hang_of_its_process(tmp_path, monkeypatch, child, message):
    write(tmp_path / "x.h5", Embeddings(["a", "b"], np.eye(2, dtype=np.float32)))
    monkeypatch.setattr(hdf5, "_CHILD", child)
    monkeypatch.setattr(hdf5, "_SECONDS", 1.0)
    with pytest.raises(InputError, match=rf"x\.h5: damaged HDF5 file \(.*{message}"):
        read(tmp_path / "x.h5")


def test_hdf5_reader_ends_when_hdf5_hangs_on_texts(tmp_path, monkeypatch):
    """Free space of size 0 in the heap of texts makes HDF5 2.0 loop forever."""
    monkeypatch.setattr(hdf5, "_SECONDS", 3.0)
    write(tmp_path / "x.h5", Embeddings(["a", "b"], np.eye(2, dtype=np.float32)))
    content = bytearray((tmp_path / "x.h5").read_bytes())
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):  # objects with a number; free space has none
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.h5: (damaged|not an) HDF5 file"):
        read(tmp_path / "x.h5")


def test_hdf5_links_to_other_files_are_rejected(tmp_path):
    np.eye(2).tofile(tmp_path / "secret")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["vectors"] = np.eye(2)
    makers = {
        "link": lambda file: file.__setitem__("vectors", h5py.ExternalLink(str(tmp_path / "other.h5"), "/vectors")),
        "external": lambda file: file.create_dataset(
            "vectors", (2, 2), "f8", external=[(str(tmp_path / "secret"), 0, 32)]
        ),
        "size": lambda file: file.create_dataset("vectors", (1 << 40, 1 << 20), "f8", chunks=(1, 1 << 10)),
    }
    for name, make in makers.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            make(file)
            file["ids"] = ["a", "b"]
        with pytest.raises(InputError, match=rf"{name}\.h5: 'vectors' (is not a dataset of the file itself|states)"):
            read(tmp_path / f"{name}.h5")


def test_jsonl_without_header_is_read(tmp_path):
    (tmp_path / "x.jsonl").write_text(
        '{"id": "a", "embedding": [1, 2]}\n\n{"embedding": [3, 4.5], "id": "b", "x": 1}\n'
    )
    found = read(tmp_path / "x.jsonl")
    assert found.ids == ["a", "b"] and found.speakers is None and found.model == ""
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4.5]])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"x\.jsonl:2: not JSON"),
        ("[1]", r"x\.jsonl:2: expected an object"),
        ("[" * 100_000, r"x\.jsonl:2: not JSON"),
        ('{"id": "b"}', r"x\.jsonl:2: expected .*embedding"),
        ('{"id": 3, "embedding": [1, 2]}', r"x\.jsonl:2: expected"),
        ('{"id": "b", "embedding": [1]}', r"x\.jsonl:2: the embedding has 1 values, the first has 2"),
        ('{"id": "b", "embedding": [1, "x"]}', r"x\.jsonl:2: expected"),
        ('{"id": "b", "embedding": [[1], [2]]}', r"x\.jsonl:2: expected"),
        ('{"id": "b", "embedding": [1, NaN]}', r"x\.jsonl: the embedding of 'b' is not finite"),
        ('{"id": "b", "embedding": [1, 1e99]}', r"x\.jsonl: the embedding of 'b' is not finite"),
        (f'{{"id": "b", "embedding": [1, 1{"0" * 400}]}}', r"x\.jsonl:2: expected"),
        ('{"id": "a", "embedding": [1, 2]}', r"x\.jsonl: the id 'a' has two embeddings"),
        ('{"id": "b", "embedding": [1, 2], "scale": 1}', r"x\.jsonl: (a line has no number|the embedding of 'a')"),
        ('{"id": "b", "embedding": [1, 2], "start": 1}', r"x\.jsonl: (a line has no number|each window needs)"),
    ],
)
def test_invalid_jsonl_line_is_named(tmp_path, line, said):
    (tmp_path / "x.jsonl").write_text('{"id": "a", "embedding": [1, 2]}\n' + line + "\n")
    with pytest.raises(InputError, match=said):
        read(tmp_path / "x.jsonl")


@pytest.mark.parametrize("name", [*ALL, "e.npy", "e.ark"])
def test_damaged_file_raises_only_input_errors_that_name_it(tmp_path, name):
    """With changed bytes or a truncated end, reading returns embeddings or raises InputError with the file's name."""
    random = np.random.default_rng(0)
    write(tmp_path / name, made(20, speakers=["p"] * 20, model="abc"))
    whole = (tmp_path / name).read_bytes()
    for trial in range(40):
        content = bytearray(whole)
        if trial % 4 == 0:
            del content[random.integers(len(content)) :]
        else:
            for _ in range(random.integers(1, 5)):
                place = random.integers(len(content) if trial % 2 else min(len(content), 200))
                content[place] = random.integers(256)
        (tmp_path / name).write_bytes(content)
        try:
            found = read(tmp_path / name, windows=True)
        except InputError as error:
            assert name in str(error)
        else:
            assert np.isfinite(found.vectors).all() and len(found.ids) == len(found)


def test_npz_marked_as_encrypted_is_rejected(tmp_path):
    write(tmp_path / "x.npz", made())
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(header)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(header, at + 1)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz: not an npz file of embeddings .*encrypted"):
        read(tmp_path / "x.npz")


def test_missing_file_of_a_pair_is_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"vectors": np.eye(2, dtype=np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors: no tensor 'ids'"):
        read(tmp_path / "x.safetensors")
    save_file({"ids": np.frombuffer(b'["a", 1]', np.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a list of texts"):
        read(tmp_path / "x.safetensors")
    write(tmp_path / "x.faiss", made())
    (tmp_path / "x.faiss.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(InputError, match="names 1 vectors, the index has 6"):
        read(tmp_path / "x.faiss")
    (tmp_path / "x.faiss.jsonl").unlink()
    for name in ("x.faiss", "y.h5", "y.jsonl", "y.safetensors"):
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


def test_every_format_is_tested_in_every_type():
    assert {suffix for suffix in FORMS if suffix != ".hdf5"} == {name[1:] for name in [*ALL, *BARE]}
    assert all(FORMS[name[1:]].dtypes == DTYPES for name in ALL)
