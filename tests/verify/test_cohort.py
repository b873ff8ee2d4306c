"""Decisions with a stored cohort: the same scores as `spkver normalise`, and only with the model of the cohort."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import spkver
from spkver import modeldir
from spkver.cli import threshold as cli
from spkver.cli import verify as cli_verify
from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.scoring.cosine import sides
from spkver.scoring.normalisation import cohort_statistics, normalise
from spkver.trials import Scores, read_trials, write_scores
from spkver.verify import book as books
from spkver.verify.advice import odd
from spkver.verify.cohort import Cohort, Voices, compare, compare_pairs
from spkver.verify.decision import read_cohort, read_decision, write_decision
from spkver.verify.model import embeddings_of

from .test_decision import DECISION


def drawn(rows, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32) + 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(3, 40), st.data())
def test_compare_equals_the_formula_of_s_norm(voices, data):
    """S-norm with the highest cohort scores of each side (Matějka et al. 2017), in float64."""
    top = data.draw(st.integers(2, voices))
    one, other, cohort = drawn(3, seed=1), drawn(2, seed=2), drawn(voices, seed=3)
    found = compare(*(Voices.of(side, Cohort(cohort, top)) for side in (one, other)))

    def worth(vector):
        highest = np.sort(cohort.astype(np.float64) @ vector)[-top:]
        return highest.mean(), highest.std()

    for row, a in enumerate(one.astype(np.float64)):
        for column, b in enumerate(other.astype(np.float64)):
            worths = [(a @ b - mean) / deviation for mean, deviation in map(worth, (a, b))]
            least = min(worth(a)[1], worth(b)[1])
            assert found[row, column] == pytest.approx(np.mean(worths), abs=1e-5 / least**2)


@pytest.mark.parametrize("cohort", [None, Cohort(drawn(20, seed=3), 5)])
def test_compare_pairs_equals_the_diagonal_of_compare(cohort):
    one, other = (Voices.of(drawn(6, seed=seed), cohort) for seed in (1, 2))
    assert compare_pairs(one, other) == pytest.approx(np.diag(compare(one, other)), abs=1e-5)


@pytest.fixture
def model(tiny_model, tmp_path):
    """A copy of the model directory."""
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.fixture
def cohort(model, voice):
    encoder = spkver.load_model(model)
    vectors = encoder.embed([voice(pitch, 2.0) for pitch in range(80, 380, 10)])
    return Embeddings([f"u{row}" for row in range(30)], vectors, [f"s{row}" for row in range(30)], encoder.model_id)


def test_verify_gives_the_scores_of_normalise(model, cohort, voice, tmp_path):
    """Compared with `spkver normalise` on the same recordings."""
    write_decision(model, DECISION, cohort, 10)
    verifier = spkver.load_model(model)
    first, second = voice(100), voice(180)
    found = verifier.verify(first, second)
    heard = embeddings_of(verifier, [verifier.listen(first), verifier.listen(second)])
    (tmp_path / "trials").write_text(f"{heard.ids[0]} {heard.ids[1]} target\n")
    trials = read_trials(tmp_path / "trials")
    cosine = float(heard.vectors[0] @ heard.vectors[1])
    statistics = cohort_statistics(sides(heard, test=cohort), 10)
    (expected,) = normalise(Scores(trials, np.array([cosine], np.float32)), statistics, statistics).values
    # an untrained network gives nearly equal embeddings, so float32 leaves few digits of their differences
    assert found.score == pytest.approx(expected, abs=0.03)
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert found.same == (found.score >= DECISION.threshold)


def test_rank_uses_the_cohort(model, cohort, voice, tmp_path):
    write_decision(model, DECISION, cohort, 10)
    verifier = spkver.load_model(model)
    heard = [verifier.listen(voice(pitch)) for pitch in (90, 150)]
    for name, one in zip(("Ada", "Bob"), heard):
        book = books.enrol(tmp_path / "book", name, embeddings_of(verifier, [one]))
    people = book.people(verifier.cohort)
    (best, other), verdict = people.rank(heard[0].vector, 2), verifier.verify(voice(150), voice(90))
    assert best.name == "Ada" and other.score == pytest.approx(verdict.score, abs=0.03)
    said = odd(book, "Bob", other.score - 1, verifier.cohort)
    assert said == [f"'Ada', who is already in the book, sounds like 'Bob' (score {other.score:.2f})"]


def test_cohort_is_stored_without_names_and_removed_with_its_threshold(model, cohort):
    write_decision(model, DECISION, cohort, 10)
    decision = read_decision(model)
    assert decision.cohort.top == 10
    kept = read_embeddings(model / decision.cohort.file)
    assert kept.speakers is None and kept.ids == [str(row) for row in range(30)]
    assert np.array_equal(read_cohort(model, decision).vectors, kept.vectors)
    write_decision(model, DECISION, Embeddings(cohort.ids[:20], cohort.vectors[:20], None, cohort.model), 5)
    assert len(list(model.glob("cohort-*"))) == 1 and len(spkver.load_model(model).cohort.vectors) == 20
    write_decision(model, DECISION)
    assert not list(model.glob("cohort-*")) and spkver.load_model(model).cohort is None


def test_write_decision_rejects_a_cohort_that_does_not_fit(model, cohort):
    other = Embeddings(cohort.ids, cohort.vectors, None, "another")
    with pytest.raises(InputError, match="the cohort is of the model 'another'"):
        write_decision(model, DECISION, other, 10)
    for top in (None, 1, 31):
        with pytest.raises(InputError, match=f"--top {top} with a cohort of 30"):
            write_decision(model, DECISION, cohort, top)
    assert read_decision(model) is None
    write_decision(model, DECISION, cohort, 10)
    path = model / read_decision(model).cohort.file
    write_embeddings(path, other)
    with pytest.raises(InputError, match=r"not the cohort of decision\.yaml"):
        spkver.load_model(model)
    path.unlink()
    with pytest.raises(InputError, match="cohort-"):
        spkver.load_model(model)
    text = (model / "decision.yaml").read_text()
    (model / "decision.yaml").write_text(text.replace(path.name, f"../{path.name}"))
    with pytest.raises(InputError, match=r"cohort\.file"):
        spkver.load_model(model)


def test_cohort_by_the_commands(model, cohort, tmp_path, voice):
    (tmp_path / "trials").write_text("".join(f"a{n} b{n} {'non' * (n % 2)}target\n" for n in range(40)))
    listed = read_trials(tmp_path / "trials")
    values = np.where(listed.target, 6, 1) + np.random.default_rng(0).normal(size=len(listed))
    write_scores(tmp_path / "snorm", Scores(listed, values.astype(np.float32)))
    write_scores(tmp_path / "cosines", Scores(listed, (values / 20).astype(np.float32)))
    write_embeddings(tmp_path / "cohort.parquet", cohort)

    def threshold(scores, *more):
        words = [scores, "--trials", tmp_path / "trials", "--eer", "--model", model, "--replicates", 20, *more]
        return CliRunner().invoke(cli.command, list(map(str, words)), catch_exceptions=False)

    kept = ["--cohort", tmp_path / "cohort.parquet", "--top", 10]
    with pytest.raises(InputError, match="cohort, top and model go together"):
        threshold(tmp_path / "snorm", *kept[:2])
    with pytest.raises(InputError, match="these are plain cosines; give the output of spkver normalise"):
        threshold(tmp_path / "cosines", *kept)
    with pytest.raises(InputError, match="or scores of spkver normalise with --cohort"):
        threshold(tmp_path / "snorm")
    assert "stored in" in threshold(tmp_path / "snorm", *kept).output
    assert read_decision(model).model == modeldir.identity(model)
    for name, pitch in (("a", 100), ("b", 170)):
        spkver.audio.write(tmp_path / f"{name}.wav", voice(pitch), 16000)
    words = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), "--model", str(model)]
    line = CliRunner().invoke(cli_verify.command, words, catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(cli_verify.command, [*words, "--json"], catch_exceptions=False).stdout)
    assert line.startswith(f"score {told['score']:.4f} (threshold ") and line.endswith(
        f"\tcosine {told['cosine']:.4f}\n"
    )
