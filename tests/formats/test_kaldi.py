from __future__ import annotations

import struct

import numpy as np
import pytest

from spkver.errors import InputError
from spkver.formats.kaldi import read_ark, read_scp, write_ark

KEYS = ["s1/a.wav", "é", "z"]
VECTORS = np.float32([[1, -2.5, 1e-30], [0.1, 3.4e38, 0], [np.pi, -0.0, 7]])


def kaldi_bytes(key, values, token=b"FV ", kind="f"):
    """A record in the layout of Kaldi's WriteToken and WriteBasicType: header, token, sizeof(int32), size, data."""
    return (
        key.encode()
        + b" \0B"
        + token
        + struct.pack("<bi", 4, len(values))
        + struct.pack(f"<{len(values)}{kind}", *values)
    )


def collect(pairs):
    keys, vectors = zip(*pairs)
    return list(keys), np.array(vectors)


def test_binary_ark_equals_kaldis_bytes(tmp_path):
    write_ark(tmp_path / "x.ark", KEYS, VECTORS, scp=tmp_path / "x.scp")
    expected = b"".join(kaldi_bytes(k, v) for k, v in zip(KEYS, VECTORS))
    assert (tmp_path / "x.ark").read_bytes() == expected
    offsets = [int(line.rsplit(":", 1)[1]) for line in (tmp_path / "x.scp").read_text().splitlines()]
    assert [expected[at : at + 5] for at in offsets] == [b"\0BFV "] * 3


@pytest.mark.parametrize("text", [False, True])
def test_ark_round_trip_is_exact(tmp_path, text):
    folder = tmp_path / "with a blank"
    write_ark(folder / "x.ark", KEYS, VECTORS, scp=folder / "x.scp", text=text)
    for keys, vectors in (collect(read_ark(folder / "x.ark")), collect(read_scp(folder / "x.scp"))):
        assert keys == KEYS
        np.testing.assert_array_equal(vectors.astype(np.float32), VECTORS)


@pytest.mark.parametrize("text", [False, True])
def test_kaldi_native_io_reads_our_ark(tmp_path, text):
    kaldi = pytest.importorskip("kaldi_native_io")
    write_ark(tmp_path / "x.ark", KEYS, VECTORS, scp=tmp_path / "x.scp", text=text)
    with kaldi.SequentialFloatVectorReader(f"ark:{tmp_path}/x.ark") as reader:
        found = [(key, np.array(value)) for key, value in reader]
    assert [key for key, _ in found] == KEYS
    np.testing.assert_array_equal([value for _, value in found], VECTORS)
    with kaldi.RandomAccessFloatVectorReader(f"scp:{tmp_path}/x.scp") as reader:
        np.testing.assert_array_equal(reader["é"], VECTORS[1])


@pytest.mark.parametrize("form", ["ark", "ark,t"])
@pytest.mark.parametrize("kind", ["Float", "Double"])
def test_ark_of_kaldi_native_io_is_read(tmp_path, form, kind):
    kaldi = pytest.importorskip("kaldi_native_io")
    values = VECTORS[[0, 2]].astype(np.float32 if kind == "Float" else np.float64)
    with getattr(kaldi, f"{kind}VectorWriter")(
        f"{form.replace('ark', 'ark,scp')}:{tmp_path}/x.ark,{tmp_path}/x.scp"
    ) as writer:
        for key, value in zip(KEYS, values):
            writer.write(key, value)
    for keys, vectors in (collect(read_ark(tmp_path / "x.ark")), collect(read_scp(tmp_path / "x.scp"))):
        assert keys == KEYS[:2]
        np.testing.assert_allclose(vectors, values, rtol=1e-5 if "t" in form else 0)  # its text format has six digits


def test_kaldi_text_ark_is_read(tmp_path):
    path = tmp_path / "x.ark"
    path.write_text("a  [ 0.5 -1e-05 3 ]\nb  [ 1 2 3 ]\n\n")
    keys, vectors = collect(read_ark(path))
    assert keys == ["a", "b"]
    np.testing.assert_array_equal(vectors, [[0.5, -1e-5, 3], [1, 2, 3]])


def test_float64_vectors_and_an_scp_without_offset_are_read(tmp_path):
    record = kaldi_bytes("a", [0.1, 0.2], b"DV ", "d")
    (tmp_path / "x.ark").write_bytes(record)
    np.testing.assert_array_equal(collect(read_ark(tmp_path / "x.ark"))[1], [[0.1, 0.2]])
    (tmp_path / "one.vec").write_bytes(record[2:])
    (tmp_path / "x.scp").write_text(f"k {tmp_path}/one.vec\n")
    assert collect(read_scp(tmp_path / "x.scp"))[0] == ["k"]


def test_scp_finds_its_ark_when_both_were_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    write_ark("x.ark", KEYS, VECTORS, scp="x.scp")
    for name in ("x.ark", "x.scp"):
        (tmp_path / name).rename(tmp_path / "old" / name)
    assert collect(read_scp("old/x.scp"))[0] == KEYS


@pytest.mark.parametrize("cut", [1, 5, 12, 13, 20, 30])
def test_truncated_ark_is_rejected(tmp_path, cut):
    path = tmp_path / "x.ark"
    whole = kaldi_bytes("aa", [1.0, 2.0, 3.0]) * 2
    path.write_bytes(whole[:-cut] if cut != 30 else whole[:1])
    with pytest.raises(InputError, match=r"x.ark: .*offset"):
        list(read_ark(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a \0BFM \4\1\0\0\0\4\1\0\0\0\0\0\0\0", r"at offset 2: expected a vector \(FV or DV\), found b'FM '"),
        (b"a \0BFV \x08\1\0\0\0\0\0\0\0", "at offset 2: the number of values cannot be read"),
        (b"a \0BFV \4\xff\xff\xff\xff\0\0\0\0", "at offset 2: the number of values"),
        (b"a [ 1 2\n", r"at offset 1?2: the file is truncated: no '\]'"),
        (b"a  [\n 1 2\n 3 4 ]\n", "found a matrix"),
        (b"a [ 1 x ]\n", "at offset 2: could not convert"),
        (b"hello world\n", "at offset 6: expected a vector"),
        (b"\xff [ 1 ]\n", "not UTF-8"),
    ],
)
def test_ark_with_other_objects_than_vectors_is_rejected(tmp_path, content, message):
    path = tmp_path / "x.ark"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_ark(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a {ark}:3", r"x.ark: at offset 3: expected a vector"),
        ("a {ark}:9223372036854775808", r"x.scp:1: the offset 922337203685477580... is larger than any file"),
        ("a {ark}:" + "9" * 5000, r"x.scp:1: the offset 999999999999999999... is larger than any file"),
        ("a {ark}:" + "9" * 18, r"x.ark: at offset 999999999999999999: expected a vector"),
        ("a {ark}:9999", r"x.ark: at offset 9999"),
        ("a {ark}.gone:2", "gone: cannot be read"),
        ("a cat {ark} |", r"scp:1: .* is a command"),
        ("a", r"scp:1: expected 'key place'"),
    ],
)
def test_invalid_scp_line_is_named(tmp_path, line, message):
    (tmp_path / "x.ark").write_bytes(kaldi_bytes("a", [1.0, 2.0]))
    (tmp_path / "x.scp").write_text(line.format(ark=tmp_path / "x.ark") + "\n")
    with pytest.raises(InputError, match=message):
        list(read_scp(tmp_path / "x.scp"))


def test_write_ark_rejects_a_key_with_a_blank(tmp_path):
    with pytest.raises(InputError, match="'a b' is empty or contains a blank"):
        write_ark(tmp_path / "x.ark", ["a b"], VECTORS[:1])
    assert not (tmp_path / "x.ark").exists()
