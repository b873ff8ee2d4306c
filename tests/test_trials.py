from __future__ import annotations

import itertools
import string

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spkver.errors import InputError
from spkver.trials import (
    Scores,
    Trials,
    check,
    join,
    make_trials,
    read_enrolment,
    read_scores,
    read_trials,
    write_scores,
    write_trials,
)


def trials(rows, target=None):
    enrol, test = zip(*(row.split() for row in rows))
    return Trials(pa.array(enrol), pa.array(test), None if target is None else np.array(target, bool))


def rows(listed):
    return list(zip(listed.enrol.to_pylist(), listed.test.to_pylist()))


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("1 a b\n0 a c\n", [True, False]),
        ("a b target\na c nontarget\n", [True, False]),
        ("a b 1\na c 0\n", [True, False]),
        ("a b\na c\n", None),
        ("  1\ta   b \r\n0 a c\r\n\n\n", [True, False]),  # tabs, blanks, Windows line ends, empty lines at the end
        ("1 a b\n0 a c", [True, False]),  # no line end at the end
    ],
)
def test_text_forms(tmp_path, text, labels):
    path = tmp_path / "trials"
    path.write_bytes(text.encode())
    found = read_trials(path)
    assert rows(found) == [("a", "b"), ("a", "c")]
    assert (found.target is None) if labels is None else found.target.tolist() == labels


def test_ids_that_look_like_labels(tmp_path):
    path = tmp_path / "trials"
    path.write_text("1 7 0\n0 8 1\n1 9 x\n")  # the third line settles that the label comes first
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
def test_bad_lines_are_named(tmp_path, text, message):
    path = tmp_path / "trials"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(path)


def test_missing_binary_and_directory(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none", tmp_path / "none.csv", tmp_path / "none.parquet", tmp_path / "binary", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_trials(path)


@pytest.mark.parametrize("labels", ["target,nontarget", "1,0", "true,false", "True,False"])
def test_csv(tmp_path, labels):
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
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "trials.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(path)


def test_bad_parquet(tmp_path):
    path = tmp_path / "trials.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_trials(path)
    pq.write_table(pa.table({"enrol": ["a", None], "test": ["b", "c"]}), path)
    with pytest.raises(InputError, match="row 2: the column 'enrol' is empty"):
        read_trials(path)


@pytest.mark.parametrize("name", ["trials", "trials.txt", "trials.csv", "trials.parquet"])
@pytest.mark.parametrize("target", [None, [True, False, True]])
def test_trials_come_back(tmp_path, name, target):
    listed = trials(["é/1.wav b", "a c", 'b ,"'], target)
    write_trials(tmp_path / name, listed)
    found = read_trials(tmp_path / name)
    assert rows(found) == rows(listed)
    assert (found.target is None) if target is None else found.target.tolist() == target


def test_an_id_with_a_blank_needs_csv_or_parquet(tmp_path):
    listed = Trials(pa.array(["a b"]), pa.array(["c"]))
    with pytest.raises(InputError, match="'a b' holds a blank"):
        write_trials(tmp_path / "trials", listed)
    write_trials(tmp_path / "trials.csv", listed)
    assert rows(read_trials(tmp_path / "trials.csv")) == [("a b", "c")]


@settings(max_examples=40)
@given(
    values=hnp.arrays(
        np.float32, st.integers(1, 20), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
    name=st.sampled_from(["scores", "scores.csv", "scores.parquet"]),
    labelled=st.booleans(),
)
def test_scores_come_back_to_the_bit(tmp_path_factory, values, name, labelled):
    path = tmp_path_factory.mktemp("scores") / name
    listed = trials(
        [f"e{i} t{i}" for i in range(len(values))], [i % 2 == 0 for i in range(len(values))] if labelled else None
    )
    write_scores(path, Scores(listed, values))
    found = read_scores(path)
    assert rows(found.trials) == rows(listed)
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, values)
    assert (found.trials.target is None) if not labelled else (found.trials.target == listed.target).all()


def test_scores_of_others(tmp_path):
    path = tmp_path / "x.score"
    path.write_text("a b 0.51234 target\na c -1.5e-3 nontarget\nb c 7 target\n")
    found = read_scores(path)
    np.testing.assert_array_equal(found.values, np.float32([0.51234, -1.5e-3, 7]))
    assert found.trials.target.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s", "a b 0.1\na c nan\n", r"s:2: expected 'enrol test score' as on line 1, got 'a c nan'"),
        ("s", "a b 0.1\na c\n", r"s:2: "),
        ("s", "a b 0.1 target\na c 0.2\n", r"s:2: "),
        ("s", "a b 0.1\na c 1e99\n", r"s:2: the score 1e99 is not a finite number"),
        ("s", "1 a b\n", r"s:1: expected one of 'enrol test score'"),
        ("s.csv", "enrol,test,score\na,b,1\na,c,nan\n", r"s.csv:3: the score nan is not"),
        ("s.csv", "enrol,test,score\na,b,1\na,c,x\n", r"s.csv:3: the score x is not"),
        ("s.csv", "enrol,test\na,b\n", r"no column 'score'"),
    ],
)
def test_bad_scores(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(path)


def test_nan_in_parquet_scores(tmp_path):
    pq.write_table(pa.table({"enrol": ["a"], "test": ["b"], "score": [float("nan")]}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="row 1: the score nan"):
        read_scores(tmp_path / "s.parquet")


def test_enrolment_map(tmp_path):
    path = tmp_path / "enrol.map"
    path.write_text("m1 a b\n m2\tc \n")
    assert read_enrolment(path) == {"m1": ["a", "b"], "m2": ["c"]}
    path.write_text("m1 a\nm2\n")
    with pytest.raises(InputError, match="map:2: "):
        read_enrolment(path)
    path.write_text("m1 a\nm1 b\n")
    with pytest.raises(InputError, match="'m1' is given twice"):
        read_enrolment(path)


# --- joining ---------------------------------------------------------------------------------------------------------


@given(order=st.permutations(range(6)), other=st.permutations(range(6)))
def test_join_gives_each_trial_its_own_score(order, other):
    keys = [f"{e} {t}" for e, t in itertools.product("ab", "xyz")]
    own = dict(zip(keys, np.arange(6, dtype=np.float32)))
    scores = Scores(trials([keys[i] for i in order]), np.array([own[keys[i]] for i in order]))
    listed = trials([keys[i] for i in other], [i % 2 for i in other])
    joined = join(scores, listed)
    assert rows(joined.trials) == rows(listed)
    assert joined.values.tolist() == [own[keys[i]] for i in other]
    assert (joined.trials.target == listed.target).all()


def test_join_mismatches():
    scores = Scores(trials(["a b", "a c", "a d"]), np.float32([1, 2, 3]))
    with pytest.raises(InputError, match="1 of 2 trials of L have no score in S, first 'a e'"):
        join(scores, trials(["a b", "a e"]), names=("S", "L"))
    with pytest.raises(InputError, match="2 of 3 trials of S are not in L, first 'a c'"):
        join(scores, trials(["a b"]), names=("S", "L"))
    with pytest.raises(InputError, match="have no score"):  # the two sides are not alike
        join(scores, trials(["a b", "a c", "d a"]))


def test_join_refuses_what_contradicts_itself():
    twice = Scores(trials(["a b", "a c", "a b"]), np.float32([1, 2, 3]))
    with pytest.raises(InputError, match=r"two different scores .* first 'a b'"):
        join(twice, trials(["a c", "a b"]))
    labelled = Scores(trials(["a b", "a c"], [1, 0]), np.float32([1, 2]))
    with pytest.raises(InputError, match=r"1 of 2 trials labelled otherwise .* first 'a c'"):
        join(labelled, trials(["a b", "a c"], [1, 1]))


def test_join_keeps_labels_and_repeated_trials():
    scores = Scores(trials(["a b", "a c", "a b"], [1, 0, 1]), np.float32([1, 2, 1]))
    joined = join(scores, trials(["a c", "a b", "a b"]))
    assert joined.values.tolist() == [2, 1, 1]
    assert joined.trials.target.tolist() == [False, True, True]


def test_check():
    assert check(trials(["a b", "a c", "b a"], [1, 0, 1])) == []
    odd = check(trials(["a b", "c c", "a b", "a d", "a b"], [1, 1, 0, 0, 1]))
    assert odd == [
        "2 of 5 trials, first 'a b', given more than once",
        "1 of 5 trials, first 'c c', of a recording with itself",
        "1 of 5 trials, first 'a b', labelled both target and nontarget",
    ]


# --- making ----------------------------------------------------------------------------------------------------------


@st.composite
def corpora(draw):
    ids = draw(
        st.lists(st.text(string.ascii_letters + "é", min_size=1, max_size=3), min_size=4, max_size=12, unique=True)
    )
    speakers = draw(st.lists(st.sampled_from("pqr"), min_size=len(ids), max_size=len(ids)))
    sessions = draw(st.lists(st.sampled_from("12"), min_size=len(ids), max_size=len(ids)))
    groups = {s: draw(st.sampled_from("lh")) for s in "pqr"}
    return ids, speakers, sessions, groups


@given(corpus=corpora(), across=st.booleans(), grouped=st.booleans(), seed=st.integers(0, 9), data=st.data())
def test_made_trials_are_what_they_say(corpus, across, grouped, seed, data):
    ids, speakers, sessions, group_of = corpus
    speaker, session = dict(zip(ids, speakers)), dict(zip(ids, sessions))
    groups = [group_of[s] for s in speakers] if grouped else None

    pairs = [tuple(sorted(pair, key=str.encode)) for pair in itertools.combinations(ids, 2)]
    same = {(a, b) for a, b in pairs if speaker[a] == speaker[b] and (not across or session[a] != session[b])}
    different = {(a, b) for a, b in pairs if speaker[a] != speaker[b]}
    if grouped:
        different = {(a, b) for a, b in different if group_of[speaker[a]] == group_of[speaker[b]]}

    def make(order, nontargets):
        def pick(values):
            return [values[i] for i in order]

        return make_trials(
            pick(ids), pick(speakers), pick(sessions), nontargets=nontargets, seed=seed, across_sessions=across,
            groups=pick(groups) if grouped else None,
        )  # fmt: skip

    whole = range(len(ids))
    if not same or not different:
        with pytest.raises(InputError):
            make(whole, 1)
        return
    count = data.draw(st.integers(1, len(different)))
    made = make(whole, count)
    listed = rows(made)
    assert {row for row, target in zip(listed, made.target) if target} == same
    drawn = [row for row, target in zip(listed, made.target) if not target]
    assert len(set(drawn)) == len(drawn) == count
    assert set(drawn) <= different
    assert listed == sorted(listed, key=lambda row: (row[0].encode(), row[1].encode()))
    shuffled = make(data.draw(st.permutations(whole)), count)
    assert rows(shuffled) == listed and (shuffled.target == made.target).all()
    with pytest.raises(InputError, match=f"between 1 and {len(different)} can be made"):
        make(whole, len(different) + 1)


def test_non_targets_are_drawn_evenly():
    ids, speakers = [f"u{i}" for i in range(6)], ["p"] * 1 + ["q"] * 2 + ["r"] * 3
    counts: dict = {}
    for seed in range(600):
        made = make_trials(ids, speakers, nontargets=3, seed=seed)
        for row, target in zip(rows(made), made.target):
            if not target:
                counts[row] = counts.get(row, 0) + 1
    assert len(counts) == 11  # 1*2 + 1*3 + 2*3, each in 3 of 11 draws
    assert all(abs(n - 600 * 3 / 11) < 60 for n in counts.values())


def test_another_seed_is_another_list():
    ids, speakers = [f"u{i:03}" for i in range(200)], [f"s{i % 20}" for i in range(200)]
    one, other = (make_trials(ids, speakers, nontargets=100, seed=seed) for seed in (0, 1))
    assert rows(one) != rows(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["a", "a", "b"]}, "'a' is given twice"),
        ({"speakers": ["p", "q"]}, "3 ids but 2 speakers"),
        ({"groups": ["l", "h", "l"]}, "belongs to two groups"),
        ({"speakers": ["p", "q", "r"]}, "no speaker has two utterances"),
        ({"sessions": ["1", "1", "1"], "across_sessions": True}, "no speaker has two utterances across sessions"),
        ({"ids": [], "speakers": []}, "no speaker has two utterances"),
        ({"nontargets": 0}, "between 1 and 2"),
    ],
)
def test_trials_that_cannot_be_made(change, message):
    given_ = {"ids": ["a", "b", "c"], "speakers": ["p", "p", "q"], "nontargets": 1, "seed": 0} | change
    with pytest.raises(InputError, match=message):
        make_trials(**given_)
