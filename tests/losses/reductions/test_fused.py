"""The fused reduction: in Triton's interpreter compared with dense, compiled for an H100, and on a GPU if available."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses.heads import NormalisedConfig
from spkver.losses.reductions import fused
from spkver.losses.reductions.base import Prototypes

REPOSITORY = Path(__file__).parents[3]
SHARED_OF_H100 = 227 * 1024  # bytes per thread block
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def triton():
    return pytest.importorskip("triton")


@pytest.mark.usefixtures("triton")
def test_interpreter_equals_dense(tmp_path):
    """In a separate process, because Triton reads the variable when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    worker = Path(__file__).with_name("fused_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["plain", "bias", "unit", "centres", "edges", "alone", "head"]


def signature(kernel, form: fused._Form, **more):
    """The types and constants of a launch with float32 tensors."""
    constants = {**form._asdict(), "bias": None, "to_bias": None, "counted": 2, "summed": True, "block_t": 2, **more}
    integers = {"samples": "i32", "classes": "i32", "dim": "i32", "part": "i32", "floor": "fp32"}
    pointers = {"y_in": "*i64", "counts_out": "*i32"}
    types = {
        name: "constexpr" if name in constants else integers.get(name) or pointers.get(name, "*fp32")
        for name in kernel.arg_names
    }
    return types, {name: value for name, value in constants.items() if name in kernel.arg_names}


@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(("precision", "dim", "centres"), [("tf32", 256, 1), ("bf16", 64, 3)])
def test_it_compiles_for_an_h100(triton, tmp_path, monkeypatch, name, precision, dim, centres):
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter compiles nothing")
    targets = pytest.importorskip("triton.backends.compiler")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from spkver.losses.reductions import kernels

    kernel = getattr(kernels, name)
    weight = torch.empty(0, dim)
    types, constants = signature(kernel, fused._Form.of(dim, Prototypes(weight, unit=True, centres=centres), precision))
    at = {(kernel.arg_names.index(each),): value for each, value in constants.items()}
    source = triton.compiler.ASTSource(kernel, types, at)
    options = {"num_warps": fused.WARPS, "num_stages": fused.STAGES}
    compiled = triton.compile(source, target=targets.GPUTarget("cuda", 90, 32), options=options)
    assert compiled.metadata.shared <= SHARED_OF_H100


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(("precision", "error"), [("tf32x3", 1e-5), ("tf32", 2e-2), ("bf16", 2e-1)])
@pytest.mark.parametrize("form", ["unit", "bias", "unit centres"])
def test_gpu_equals_cpu_without_waiting(make_reduction, make_problem, form, precision, error):
    a, prototypes, y = make_problem(form, classes=1500, n=200, dim=192, dtype=torch.float32)
    a, weight = (each.detach().cuda().requires_grad_() for each in (a, prototypes.weight))
    bias = None if prototypes.bias is None else prototypes.bias.detach().cuda().requires_grad_()
    prototypes, y = prototypes._replace(weight=weight, bias=bias), y.cuda()
    thresholds = [torch.full((200,), t).cuda() for t in (-1000.0, 1000.0)]
    dense, got = (
        make_reduction(keys)(a, prototypes, y, thresholds)
        for keys in ("dense", {"name": "fused", "precision": precision})
    )
    torch.testing.assert_close(got.logsumexp, dense.logsumexp, rtol=error, atol=error)
    torch.testing.assert_close(got.largest, dense.largest, rtol=error, atol=error)
    assert all(map(torch.equal, got.counts, dense.counts))
    leaves = [each for each in (a, weight, bias) if each is not None]
    ours, theirs = (torch.autograd.grad(each.logsumexp.sum(), leaves) for each in (got, dense))
    for left, right in zip(ours, theirs):
        assert (left - right).norm() <= error * right.norm()


def test_missing_gpu_is_named(make_reduction, make_problem, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match=r"needs a GPU; without one, set head\.reduction to chunked"):
        make_reduction("fused")(*make_problem("unit"), [])


def test_missing_triton_is_named(make_reduction, make_problem, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(InputError, match=r"this needs triton: pip install 'spkver\[fused\]'"):
        make_reduction("fused")(*make_problem("unit"), [])


def test_large_embeddings_are_rejected(make_reduction, make_problem):
    with pytest.raises(InputError, match="up to 256 values in tf32x3, got 257"):
        make_reduction("fused")(*make_problem("unit", dim=257), [])


def test_triton_is_imported_when_used():
    assert (
        validate(NormalisedConfig, {"reduction": {"name": "fused", "precision": "bf16"}}).reduction.precision == "bf16"
    )
    code = """if True:
        import sys
        from spkver.losses.heads import NormalisedConfig
        NormalisedConfig(reduction="fused")
        assert "triton" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
