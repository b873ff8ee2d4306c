from __future__ import annotations

import numpy as np
import pytest

from spkver.embeddings import Embeddings, write_embeddings
from spkver.errors import InputError
from spkver.formats.convert import write
from spkver.scoring import cohort as module
from spkver.scoring import cosine
from spkver.scoring.backend import BackEnd
from spkver.scoring.chain import fit_chain, write_chain
from spkver.scoring.cohort import CohortFile
from spkver.scoring.normalisation import cohort_statistics
from spkver.scoring.plda import fit_plda, write_plda
from spkver.trials import make_trials


def made(name, rows, seed, speakers=10):
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(speakers, 6))[np.arange(rows) % speakers] + random.normal(size=(rows, 6))).astype(
        "f4"
    )
    return Embeddings(
        [f"{name}{i:02}" for i in range(rows)], vectors, [f"{name}s{i % speakers}" for i in range(rows)], "abc"
    )


TRAIN, TEST = made("c", 90, 0, 30), made("u", 40, 1)
TRIALS = make_trials(TEST.ids, TEST.speakers, nontargets=100, seed=0)


@pytest.fixture
def files(tmp_path):
    """Embeddings in two formats, a chain, and a PLDA model behind it."""
    write_embeddings(tmp_path / "train.parquet", TRAIN)
    write(tmp_path / "test.npz", TEST)
    chain = fit_chain(TRAIN, ["centre", "lda:4"])
    write_chain(tmp_path / "chain", chain)
    write_plda(tmp_path / "plda", fit_plda(chain(TRAIN)))
    return tmp_path


def test_cosine_is_the_default(files):
    found = BackEnd().open(files / "test.npz").score(TRIALS)
    assert np.array_equal(found, cosine.score(TRIALS, TEST))


def test_the_mean_is_subtracted(files):
    found = BackEnd(mean=files / "train.parquet").open(files / "test.npz").score(TRIALS)
    np.testing.assert_allclose(found, cosine.score(TRIALS, TEST, mean=TRAIN.vectors.mean(axis=0)), atol=1e-6)


def test_plda_after_a_chain(files):
    chain = fit_chain(TRAIN, ["centre", "lda:4"])
    found = BackEnd(chain=files / "chain", plda=files / "plda").open(files / "test.npz").score(TRIALS)
    expected = fit_plda(chain(TRAIN)).sides(chain(TEST)).score(TRIALS)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_mean_goes_through_the_chain_as_well(files):
    chain = fit_chain(TRAIN, ["centre", "lda:4"])
    found = BackEnd(mean=files / "train.parquet", chain=files / "chain").open(files / "test.npz").score(TRIALS)
    expected = cosine.score(TRIALS, chain(TEST), mean=chain(TRAIN).vectors.mean(axis=0))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_enrolment_models_and_another_test_side(files):
    (files / "spk2utt").write_text("m u00 u01\n")
    sides = BackEnd().open(files / "test.npz", test=files / "train.parquet", enrolment=files / "spk2utt")
    assert (sides.enrol.ids.to_pylist(), sides.test.ids.to_pylist()) == (["m"], TRAIN.ids)


def test_a_mean_and_plda_are_refused(files):
    with pytest.raises(InputError, match="PLDA subtracts its own mean"):
        BackEnd(mean=files / "train.parquet", plda=files / "plda")


# --- cohorts ----------------------------------------------------------------------------------------------------------


def test_statistics_of_both_sides(files):
    back_end = BackEnd()
    cohort = CohortFile(files / "train.parquet", back_end, top=20)
    enrol, test = cohort.statistics(files / "test.npz")
    expected = cohort_statistics(cosine.sides(TEST, test=TRAIN), 20)
    assert enrol is test and np.array_equal(enrol.mean, expected.mean)
    (files / "spk2utt").write_text("m u00 u01\n")
    enrol, test = cohort.statistics(files / "test.npz", enrolment=files / "spk2utt")
    assert enrol.ids.to_pylist() == ["m"] and np.array_equal(test.deviation, expected.deviation)


def test_the_cohort_of_speaker_means(files):
    found, _ = CohortFile(files / "train.parquet", BackEnd(), by_speaker=True).statistics(files / "test.npz")
    unit = TRAIN.vectors / np.linalg.norm(TRAIN.vectors, axis=1, keepdims=True)
    means = np.stack([unit[speaker::30].mean(axis=0) for speaker in range(30)])
    expected = cosine.sides(TEST, test=Embeddings([f"s{i}" for i in range(30)], means, model="abc"))
    np.testing.assert_allclose(found.mean, cohort_statistics(expected).mean, atol=1e-6)


def test_statistics_are_stored_and_reused(files, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return cohort_statistics(*arguments)

    monkeypatch.setattr(module, "cohort_statistics", counted)

    def statistics(back_end=None, cohort="train.parquet", **settings):
        of = CohortFile(files / cohort, back_end or BackEnd(), cache=files / "cache", **settings)
        return of.statistics(files / "test.npz")[0]

    first, second = statistics(top=10), statistics(top=10)
    assert len(calls) == 1 and second.ids.equals(first.ids)
    assert np.array_equal(second.mean, first.mean) and np.array_equal(second.deviation, first.deviation)
    statistics(top=11)
    statistics(top=11, by_speaker=True)
    statistics(BackEnd(chain=files / "chain"), top=11)
    assert len(calls) == 4
    write_embeddings(files / "train.parquet", made("d", 90, 5))  # another cohort under the same name
    statistics(BackEnd(chain=files / "chain"), top=11)
    assert len(calls) == 5


def test_a_damaged_cache_is_named(files):
    (files / "cache").mkdir()
    (files / "cache" / "enrol.parquet").write_text("x")
    with pytest.raises(InputError, match=r"enrol\.parquet: not a file of cohort statistics .*; delete it"):
        CohortFile(files / "train.parquet", BackEnd(), cache=files / "cache").statistics(files / "test.npz")
