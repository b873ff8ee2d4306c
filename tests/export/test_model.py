"""Export to a model directory: with a chain of transforms appended, and with float16 weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from spkver.cli.export import command
from spkver.config import validate
from spkver.embeddings import Embeddings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.export import EXPORTS
from spkver.scoring.chain import fit_chain, write_chain

MODELS = {
    "a batch norm at the end": {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 6},
    "an affine layer": {"name": "resnet", "depth": 18, "channels": 4, "dim": 6},
    "a projection": {"name": "projected", "network": {"name": "pooled", "dim": 12}, "dim": 6},
}


def model_of(path, model):
    torch.manual_seed(1)
    encoder = Encoder(validate(EncoderConfig, {"model": model})).eval()
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    encoder.save(path)
    return Encoder.open(path)


def chain_of(path, encoder, steps, seed=0):
    """A chain fitted on synthetic embeddings of that model."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(60, encoder.dim)) @ random.normal(size=(encoder.dim, encoder.dim)) + 1
    speakers = [f"s{row % 6}" for row in range(60)]
    ids = [f"u{row}" for row in range(60)]
    chain = fit_chain(Embeddings(ids, vectors.astype(np.float32), speakers, encoder.model_id), steps)
    write_chain(path, chain)
    return chain


def export(encoder, out, **options):
    form = EXPORTS.get("model")
    return form(form.Config(**options)).write(encoder, out)


@pytest.mark.parametrize("steps", [["pca:3"], ["centre", "lda:4", "wccn"], ["whiten"]])
@pytest.mark.parametrize("name", MODELS)
def test_exported_model_gives_the_embeddings_after_the_chain(name, steps, tmp_path):
    encoder = model_of(tmp_path / "model", MODELS[name])
    chain = chain_of(tmp_path / "chain", encoder, steps)
    (said,) = export(encoder, tmp_path / "out", chain=str(tmp_path / "chain"))
    reduced = Encoder.open(tmp_path / "out")
    waveforms = [np.random.default_rng(row).normal(0, 0.1, 4000).astype(np.float32) for row in range(3)]
    plain = Embeddings([f"u{row}" for row in range(3)], encoder.embed(waveforms), None, encoder.model_id)
    expected, found = chain(plain).vectors, reduced.embed(waveforms)
    assert reduced.dim == found.shape[1] == expected.shape[1] and f"6 to {reduced.dim} values by" in said
    assert np.abs(found - expected).max() <= 1e-5 * np.linalg.norm(expected, axis=1).max()
    assert encoder.model_id in (tmp_path / "out" / "card.md").read_text() and reduced.model_id != encoder.model_id


def test_model_export_rejects_invalid_options(tmp_path):
    encoder = model_of(tmp_path / "model", MODELS["an affine layer"])
    other = model_of(tmp_path / "other", MODELS["a projection"])
    chain_of(tmp_path / "long", encoder, ["centre", "length"])
    chain_of(tmp_path / "others", other, ["centre"])
    chain_of(tmp_path / "good", encoder, ["centre"])
    (tmp_path / "full").mkdir()
    for chain, out, said in [
        ("long", "out", "the step 'length' is not affine"),
        ("others", "out", f"fitted on embeddings of the model '{other.model_id}', but this is '{encoder.model_id}'"),
        ("nowhere", "out", r"nowhere: no chain\.safetensors and chain\.yaml"),
        ("good", "full", "exists already"),
    ]:
        with pytest.raises(InputError, match=said):
            export(encoder, tmp_path / out, chain=str(tmp_path / chain))
    with pytest.raises(InputError, match="nothing to change; give --chain or --half"):
        export(encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_model_export_in_float16_has_about_half_the_size(tmp_path):
    encoder = model_of(tmp_path / "model", MODELS["an affine layer"])
    (said,) = export(encoder, tmp_path / "half", weights="float16")
    halved = Encoder.open(tmp_path / "half")
    kept, full = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "model"))
    assert kept < 0.65 * full and said.endswith("weights in float16")  # the file is small, so names count
    assert {tensor.dtype for tensor in halved.network.state_dict().values()} <= {torch.float32, torch.int64}
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    one, other = encoder.embed(waveform), halved.embed(waveform)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.9999
    with torch.no_grad():
        next(iter(encoder.network.parameters())).fill_(1e5)
    with pytest.raises(InputError, match="100000 exceeds the range of float16"):
        export(encoder, tmp_path / "far", weights="float16")
    assert not (tmp_path / "far").exists()


def test_model_export_by_the_command(tmp_path):
    chain_of(tmp_path / "chain", model_of(tmp_path / "model", MODELS["an affine layer"]), ["pca:2"])
    paths = [str(tmp_path / name) for name in ("model", "out", "chain")]
    done = CliRunner().invoke(
        command, [*paths[:2], "--to", "model", "--chain", paths[2], "--half"], catch_exceptions=False
    )
    assert done.exit_code == 0 and "6 to 2 values by pca; weights in float16" in done.output
    assert Encoder.open(tmp_path / "out").dim == 2
