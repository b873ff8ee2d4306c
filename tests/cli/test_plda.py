from __future__ import annotations

from spkver.embeddings import read_embeddings
from spkver.metrics import cllr
from spkver.scoring.chain import read_chain
from spkver.scoring.plda import read_plda
from spkver.trials import read_scores


def test_chain_and_plda(spkver, scored_corpus):
    """The corpus is its own training set; only the commands are tested."""
    emb, trials = scored_corpus / "emb.parquet", scored_corpus / "trials"
    chain, plda, out = (scored_corpus / name for name in ("chain", "plda", "out"))
    done = spkver("transform", "fit", emb, chain, "--steps", "centre,lda:5,length")
    assert "fitted on 100 embeddings" in done.stdout
    spkver("transform", "apply", chain, emb, scored_corpus / "changed.parquet")
    changed = read_embeddings(scored_corpus / "changed.parquet")
    assert changed.dim == 5 and changed.model == read_chain(chain).result
    done = spkver("plda", "fit", emb, plda, "--chain", chain, "--iterations", 5)
    assert "10 speakers" in done.stdout
    spkver("score", trials, emb, out, "--chain", chain, "--plda", plda)
    scores = read_scores(out)
    sides = read_plda(plda).sides(changed)
    assert abs(scores.values - sides.score(scores.trials)).max() < 1e-4
    assert cllr(scores.values, scores.labels) < 1  # less than that of no information
    spkver("score", trials, scored_corpus / "changed.parquet", scored_corpus / "out2", "--plda", plda)
    assert (scored_corpus / "out2").read_text() == out.read_text()
    spkver("plda", "adapt", plda, scored_corpus / "moved", "--coral", emb, "--chain", chain)
    spkver("plda", "adapt", plda, scored_corpus / "mixed", "--with", scored_corpus / "moved", "--weight", 0.3)
    for name in ("moved", "mixed"):
        spkver("score", trials, emb, out, "--chain", chain, "--plda", scored_corpus / name)


def test_mistakes(spkver, scored_corpus):
    emb, trials, out = scored_corpus / "emb.parquet", scored_corpus / "trials", scored_corpus / "out"
    assert "steps: centre" in spkver("transform", "fit", emb, out, "--steps", "lad:3", code=2).stderr
    assert (
        "no plda.safetensors and plda.yaml" in spkver("score", trials, emb, out, "--plda", scored_corpus, code=2).stderr
    )
    assert "a mean or PLDA, not both" in spkver("score", trials, emb, out, "--plda", out, "--mean", emb, code=2).stderr
    assert "either --coral or --with" in spkver("plda", "adapt", out, out, code=2).stderr
    assert not out.exists()
