from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spkver import lists
from spkver.errors import InputError
from spkver.trials import (
    Scores,
    Trials,
    concatenate,
    files,
    read_enrolment,
    read_scores,
    read_trials,
    score_writer,
    stream_trials,
    write_scores,
    write_trials,
)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("1 a b\n0 a c\n", [True, False]),
        ("a b target\na c nontarget\n", [True, False]),
        ("a b 1\na c 0\n", [True, False]),
        ("a b\na c\n", None),
        ("  1\ta   b \r\n0 a c\r\n\n\n", [True, False]),  # tabs, blanks, Windows line ends, empty lines at the end
        ("1 a b\n0 a c", [True, False]),  # no newline at the end
    ],
)
def test_every_text_format_is_read(tmp_path, text, labels, rows):
    path = tmp_path / "trials"
    path.write_bytes(text.encode())
    found = read_trials(path)
    assert rows(found) == [("a", "b"), ("a", "c")]
    assert (found.target is None) if labels is None else found.target.tolist() == labels


def test_ids_that_look_like_labels_are_read(tmp_path, rows):
    path = tmp_path / "trials"
    path.write_text("1 7 0\n0 8 1\n1 9 x\n")  # the third line shows that the label comes first
    found = read_trials(path)
    assert rows(found) == [("7", "0"), ("8", "1"), ("9", "x")]
    path.write_text("1 7 0\n0 8 1\n")
    with pytest.raises(InputError, match="every line fits both"):
        read_trials(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b\n2 a c\n", r"trials:2: expected '1\|0 enrol test' as on line 1, got '2 a c'"),
        ("1 a b\n\n0 a c\n", r"trials:2: .*got ''"),
        ("a b target\na c non-target\n", r"trials:2: .*'a c non-target'"),
        ("a b\na b c\n", r"trials:2: expected 'enrol test'"),
        ("just-one\n", r"trials:1: expected one of"),
        ("a b c d e\n", r"trials:1: expected one of"),
        ("", "no trials"),
        ("\n \n", "no trials"),
    ],
)
def test_invalid_line_is_named(tmp_path, text, message):
    path = tmp_path / "trials"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(path)


def test_missing_and_binary_files_are_rejected(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none", tmp_path / "none.csv", tmp_path / "none.parquet", tmp_path / "binary", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_trials(path)


@pytest.mark.parametrize("labels", ["target,nontarget", "1,0", "true,false", "True,False"])
def test_csv_is_read(tmp_path, labels, rows):
    path = tmp_path / "trials.csv"
    yes, no = labels.split(",")
    path.write_text(f"test,enrol,note,target\nb,007,x,{yes}\nc d,007,y,{no}\n")
    found = read_trials(path)
    assert rows(found) == [("007", "b"), ("007", "c d")]
    assert found.target.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enrol,test\na,b\na\n", "Row #3"),
        ("enrol,tests\na,b\n", "no column 'test'"),
        ("enrol,test,target\na,b,1\na,c,maybe\n", r"csv:3: expected target or nontarget .*'maybe'"),
        ("enrol,test\na,b\n,c\n", r"csv:3: the column 'enrol' is empty"),
        ("enrol,test\n", "no trials"),
        ("", "not a CSV"),
    ],
)
def test_invalid_csv_is_rejected(tmp_path, text, message):
    path = tmp_path / "trials.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(path)


def test_invalid_parquet_is_rejected(tmp_path):
    path = tmp_path / "trials.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_trials(path)
    pq.write_table(pa.table({"enrol": ["a", None], "test": ["b", "c"]}), path)
    with pytest.raises(InputError, match="row 2: the column 'enrol' is empty"):
        read_trials(path)


@pytest.mark.parametrize("name", ["trials", "trials.txt", "trials.csv", "trials.parquet"])
@pytest.mark.parametrize("target", [None, [True, False, True]])
def test_trials_round_trip(tmp_path, name, target, trials, rows):
    listed = trials(["é/1.wav b", "a c", 'b ,"'], target)
    write_trials(tmp_path / name, listed)
    found = read_trials(tmp_path / name)
    assert rows(found) == rows(listed)
    assert (found.target is None) if target is None else found.target.tolist() == target


def test_id_with_a_blank_needs_csv_or_parquet(tmp_path, rows):
    listed = Trials(pa.array(["a b"]), pa.array(["c"]))
    with pytest.raises(InputError, match="'a b' contains a blank"):
        write_trials(tmp_path / "trials", listed)
    write_trials(tmp_path / "trials.csv", listed)
    assert rows(read_trials(tmp_path / "trials.csv")) == [("a b", "c")]


@settings(max_examples=40)
@given(
    values=st.sampled_from([32, 64]).flatmap(
        lambda width: hnp.arrays(
            np.dtype(f"f{width // 8}"),
            st.integers(1, 20),
            elements=st.floats(width=width, allow_nan=False, allow_infinity=False),
        )
    ),
    name=st.sampled_from(["scores", "scores.csv", "scores.parquet"]),
    labelled=st.booleans(),
)
def test_scores_round_trip_is_exact(tmp_path_factory, values, name, labelled, trials, rows):
    path = tmp_path_factory.mktemp("scores") / name
    listed = trials(
        [f"e{i} t{i}" for i in range(len(values))], [i % 2 == 0 for i in range(len(values))] if labelled else None
    )
    write_scores(path, Scores(listed, values))
    found = read_scores(path)
    assert rows(found.trials) == rows(listed)
    # text has no type: the digits of a float32 are read as a float64
    assert found.values.dtype == (values.dtype if name.endswith("parquet") else np.float64)
    np.testing.assert_array_equal(found.values.astype(values.dtype), values)
    assert (found.trials.target is None) if not labelled else (found.trials.target == listed.target).all()


def test_score_files_of_other_tools_are_read(tmp_path):
    path = tmp_path / "x.score"
    path.write_text("a b 0.51234 target\na c -1.5e-3 nontarget\nb c 7 target\n")
    found = read_scores(path)
    np.testing.assert_array_equal(found.values, [0.51234, -1.5e-3, 7])
    assert found.trials.target.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s", "a b 0.1\na c nan\n", r"s:2: expected 'enrol test score' as on line 1, got 'a c nan'"),
        ("s", "a b 0.1\na c\n", r"s:2: "),
        ("s", "a b 0.1 target\na c 0.2\n", r"s:2: "),
        ("s", "a b 0.1\na c 1e999\n", r"s:2: the score 1e999 is not a finite number"),
        ("s", "1 a b\n", r"s:1: expected one of 'enrol test score'"),
        ("s.csv", "enrol,test,score\na,b,1\na,c,nan\n", r"s.csv:3: the score nan is not"),
        ("s.csv", "enrol,test,score\na,b,1\na,c,x\n", r"s.csv:3: the score x is not"),
        ("s.csv", "enrol,test\na,b\n", r"no column 'score'"),
    ],
)
def test_invalid_score_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(path)


def test_nan_in_parquet_scores_is_rejected(tmp_path):
    pq.write_table(pa.table({"enrol": ["a"], "test": ["b"], "score": [float("nan")]}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="row 1: the score nan"):
        read_scores(tmp_path / "s.parquet")


def test_enrolment_map_is_read(tmp_path):
    path = tmp_path / "enrol.map"
    path.write_text("m1 a b\n m2\tc \n")
    assert read_enrolment(path) == {"m1": ["a", "b"], "m2": ["c"]}
    path.write_text("m1 a\nm2\n")
    with pytest.raises(InputError, match="map:2: "):
        read_enrolment(path)
    path.write_text("m1 a\nm1 b\n")
    with pytest.raises(InputError, match="'m1' occurs twice"):
        read_enrolment(path)


# --- in parts --------------------------------------------------------------------------------------------------------


def test_blanks_of_any_kind_give_the_same_list(tmp_path, rows):
    """Lists with one blank between fields use the fast parser, others the exact one."""
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    plain.write_text("".join(f"{i % 2} e{i}é t{i // 2}\n" for i in range(50)))
    odd.write_text(plain.read_text().replace(" ", "  \t"))
    assert rows(read_trials(plain)) == rows(read_trials(odd))
    assert (read_trials(plain).target == read_trials(odd).target).all()


@settings(max_examples=60, deadline=None)
@given(
    fields=st.lists(st.text("ab01 \t-.e+é", min_size=0, max_size=3), min_size=3, max_size=6),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_fast_and_exact_parser_agree(tmp_path_factory, fields, ends):
    path = tmp_path_factory.mktemp("any") / "list"
    path.write_bytes((f"a b 0.5{ends}" + ends.join(fields)).encode())

    def outcome():
        try:
            scores = read_scores(path)
        except InputError as error:
            return str(error)
        return (scores.trials.enrol.to_pylist(), scores.trials.test.to_pylist(), scores.values.tolist())

    with pytest.MonkeyPatch.context() as patch:
        fast = outcome()
        patch.setattr(files, "_parsed_fast", lambda block, fields: None)
        assert outcome() == fast


@pytest.mark.parametrize("name", ["t", "t.csv", "t.parquet"])
def test_streamed_parts_equal_the_whole_list(tmp_path, monkeypatch, trials, rows, name):
    listed = trials([f"e{i % 7} t{i}" for i in range(200)], [i % 3 == 0 for i in range(200)])
    write_trials(tmp_path / name, listed)
    monkeypatch.setattr(lists, "BLOCK", 100)
    monkeypatch.setattr(files, "_PART", 30)
    parts = list(stream_trials(tmp_path / name))
    assert len(parts) > 3
    assert rows(concatenate(parts)) == rows(listed) == rows(read_trials(tmp_path / name))
    assert (concatenate(parts).target == listed.target).all()


def test_error_in_a_later_part_names_the_line(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "BLOCK", 64)
    text = "".join(f"1 e{i} t\n" for i in range(40))
    (tmp_path / "t").write_text(text + "1 e\n" + text)
    with pytest.raises(InputError, match="t:41: expected"):
        read_trials(tmp_path / "t")
    (tmp_path / "t").write_bytes(text.encode() + b"1 e \xff\n" + text.encode())
    with pytest.raises(InputError, match="t:41: not UTF-8 text"):
        read_trials(tmp_path / "t")
    (tmp_path / "t").write_text("\n" * 200)
    with pytest.raises(InputError, match="no trials"):
        read_trials(tmp_path / "t")
    (tmp_path / "t").write_text(text + "\n" * 200)  # trailing empty lines across parts
    assert len(read_trials(tmp_path / "t")) == 40
    (tmp_path / "t.csv").write_text("enrol,test,target\n" + "e,t,1\n" * 40 + "e,t,2\n")
    with pytest.raises(InputError, match=r"t\.csv:42: expected target"):
        read_trials(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["s", "s.csv", "s.parquet"])
def test_scores_written_in_parts_are_read(tmp_path, trials, rows, name):
    listed = trials([f"e{i % 7} t{i}" for i in range(20)], [i % 3 == 0 for i in range(20)])
    scores = Scores(listed, np.arange(20, dtype=np.float32) / 7)
    with score_writer(tmp_path / name) as write:
        for start in range(0, 20, 6):
            write(scores.take(np.arange(start, min(start + 6, 20))))
    found = read_scores(tmp_path / name)
    assert rows(found.trials) == rows(listed) and (found.values.astype(np.float32) == scores.values).all()
    assert (found.trials.target == listed.target).all()
    with pytest.raises(ZeroDivisionError), score_writer(tmp_path / f"x{name}") as write:
        write(scores)
        raise ZeroDivisionError
    assert not (tmp_path / f"x{name}").exists()


def test_ids_are_read_as_text_and_unused_ones_are_not_written(tmp_path, rows):
    table = pa.table({"enrol": [7, 8], "test": pa.array(["x", "y"], pa.large_string()), "target": ["target", "1"]})
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_trials(tmp_path / "t.parquet")
    assert rows(found) == [("7", "x"), ("8", "y")] and found.target.tolist() == [True, True]
    ids = pa.array(["a", "b c", "d", "e"])
    column = pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int32()), ids)
    write_trials(tmp_path / "t", Trials(column, column))
    assert (tmp_path / "t").read_text() == "d d\na a\n"
    write_trials(tmp_path / "t.parquet", Trials(column, column))
    stored = pq.read_table(tmp_path / "t.parquet").column("enrol").chunk(0)
    assert sorted(stored.dictionary.to_pylist()) == ["a", "d"]


def test_score_can_be_read_from_another_column(tmp_path):
    (tmp_path / "w.csv").write_text("enrol,test,weight\na,b,0.5\nc,d,2\n")
    assert read_scores(tmp_path / "w.csv", "weight").values.tolist() == [0.5, 2]
    (tmp_path / "w.csv").write_text("enrol,test,weight\na,b,much\n")
    with pytest.raises(InputError, match=r"w\.csv:2: the weight much is not a finite number"):
        read_scores(tmp_path / "w.csv", "weight")


def test_scores_that_differ_beyond_float32_are_kept(tmp_path):
    """Close cosines do not become ties, in text and in tables."""
    values = [0.99999999, 0.99999998, 0.99999997, 0.999999985]
    for name, between in (("s", " "), ("s.csv", ",")):
        lines = [between.join(("enrol", "test", "score"))] * (between == ",")
        lines += [between.join((f"e{row}", "t", str(value))) for row, value in enumerate(values)]
        (tmp_path / name).write_text("\n".join(lines))
        assert read_scores(tmp_path / name).values.tolist() == values
    table = {"enrol": list("abcd"), "test": list("efgh"), "score": values}
    for kind in (pa.float64(), pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        column = pa.array(map(str, values) if kind != pa.float64() else values).cast(kind)
        pq.write_table(pa.table(table | {"score": column}), tmp_path / "s.parquet")
        assert read_scores(tmp_path / "s.parquet").values.tolist() == values


def test_repeated_column_is_rejected(tmp_path):
    (tmp_path / "t.csv").write_text("enrol,test,enrol\na,b,c\n")
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["enrol", "test", "enrol"]), tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(InputError, match="the column 'enrol' occurs 2 times"):
            read_trials(tmp_path / name)


@pytest.mark.parametrize("column", [pa.array([b"\xff"]), pa.array([[1.0]]), pa.array([None])])
def test_parquet_scores_that_are_not_numbers_are_rejected(tmp_path, column):
    pq.write_table(pa.table({"enrol": ["a"], "test": ["b"], "score": column}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"s\.parquet: (row 1: )?the column 'score' is "):
        read_scores(tmp_path / "s.parquet")


# --- encodings -------------------------------------------------------------------------------------------------------

MARK = "\ufeff".encode()


def test_byte_order_mark_is_not_part_of_an_id(tmp_path, rows):
    for text in (b"1 a b\n0 a c\n", b"a b target\na c nontarget\n", b"a  b target\na c nontarget\n"):
        (tmp_path / "t").write_bytes(MARK + text.replace(b"\n", b"\n" + MARK, 1))  # two concatenated files
        assert rows(read_trials(tmp_path / "t")) == [("a", "b"), ("a", "c")]
    (tmp_path / "t.csv").write_bytes(MARK + b"enrol,test\na,b\n")
    assert rows(read_trials(tmp_path / "t.csv")) == [("a", "b")]
    (tmp_path / "m").write_bytes(MARK + b"m a b\n")
    assert read_enrolment(tmp_path / "m") == {"m": ["a", "b"]}


@pytest.mark.parametrize("name", ["t", "t.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_named(tmp_path, name, encoding):
    (tmp_path / name).write_bytes("enrol,test\na,b\n".encode(encoding))
    with pytest.raises(InputError, match=r"UTF-16 or not a text file; save it as UTF-8 text$"):
        read_trials(tmp_path / name)


def test_text_that_is_not_utf_8_is_rejected(tmp_path):
    for content in (b"1 a b\n1 a \xe9\n", b"1 a b\n1 a \0\n"):
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(InputError, match=r"t:2: .*save it as UTF-8 text$"):
            read_trials(tmp_path / "t")
    for content in (b"enrol,test\n\xe9,b\n", b"enrol,test,\xe9\na,b,c\n"):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(InputError, match=r"t\.csv: not a CSV file with a header"):
            read_trials(tmp_path / "t.csv")
    ids = pa.array([b"\xe9"]).view(pa.string())
    for columns in ({"enrol": ids, "test": ["b"]}, {"enrol": ["b"], "test": ids}):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=r"t\.parquet: not a Parquet file"):
            read_trials(tmp_path / "t.parquet")


def test_arrow_threads_get_no_memory_of_python_objects():
    """A thread of Arrow that drops the last reference to such memory while the process ends aborts the process."""
    block = b"a b 0.5\n" * 1000
    before = sys.getrefcount(block)
    source = files._source(block)
    assert sys.getrefcount(block) == before and source.read() == block
