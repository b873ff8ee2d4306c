"""`spkver train-samples` from the shell."""


def test_train_samples(spkver, write_recipe, tmp_path):
    config = write_recipe()
    spkver("train", config, "--out", tmp_path / "run")
    done = spkver("train-samples", tmp_path / "run", "--out", tmp_path / "samples")
    page = tmp_path / "samples" / "samples.html"
    assert done.stdout.endswith(f"{page}: written\n") and "<svg" in page.read_text()
    assert list((tmp_path / "samples").glob("step-*.parquet"))
    assert (
        "not an experiment directory"
        in spkver("train-samples", tmp_path / "none", "--out", tmp_path / "other", code=2).stderr
    )
