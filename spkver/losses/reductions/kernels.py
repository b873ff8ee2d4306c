"""The Triton kernels of the fused reduction, imported when it is first used.

Both iterate over tiles of samples × classes, with sums in registers, in float32 (float64 for float64 operands).
Indices of rows of W are int64: 10^7 speakers with 256 values are more than 2^31.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _product(x, y, total, precision: tl.constexpr):  # type: ignore[no-untyped-def]
    """Total + x @ y."""
    if precision == "bf16":
        return tl.dot(x.to(tl.bfloat16), y.to(tl.bfloat16), acc=total)
    else:
        return tl.dot(x, y, acc=total, input_precision=precision, out_dtype=total.dtype)


@triton.jit
def _prototypes(weight, norm, rows, inside, lanes, dim, floor, unit: tl.constexpr):  # type: ignore[no-untyped-def]
    """P (rows, D) in the type of norm; zeros for rows outside."""
    mask = inside[:, None] & (lanes < dim)[None, :]
    p = tl.load(weight + rows[:, None] * dim + lanes[None, :], mask=mask, other=0.0).to(norm.dtype.element_ty)
    if unit:
        p = p / tl.maximum(tl.load(norm + rows, mask=inside, other=1.0), floor)[:, None]
    return p


@triton.jit
def _logits(a, p, bias, rows, inside, biased: tl.constexpr, precision: tl.constexpr):  # type: ignore[no-untyped-def]
    """Z (samples, rows)."""
    z = _product(a, tl.trans(p), tl.zeros((a.shape[0], p.shape[0]), dtype=a.dtype), precision)
    if biased:
        z += tl.load(bias + rows, mask=inside, other=0.0).to(a.dtype)[None, :]
    return z


@triton.jit
def _tile(  # type: ignore[no-untyped-def]
    a, weight, norm, bias, columns, inside, y, lanes, dim, floor,
    centres: tl.constexpr, unit: tl.constexpr, biased: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """Logits (samples, classes), -inf for the own class and outside; the centre of each logit; p with one centre."""
    p = _prototypes(weight, norm, columns * centres, inside, lanes, dim, floor, unit)
    z = _logits(a, p, bias, columns * centres, inside, biased, precision)
    centre = tl.zeros((a.shape[0], columns.shape[0]), dtype=tl.int32)
    for k in range(1, centres):
        rows = columns * centres + k
        next_p = _prototypes(weight, norm, rows, inside, lanes, dim, floor, unit)
        next_z = _logits(a, next_p, bias, rows, inside, biased, precision)
        centre = tl.where(next_z > z, k, centre)
        z = tl.maximum(z, next_z)
    return tl.where(inside[None, :] & (columns[None, :] != y[:, None]), z, float("-inf")), centre, p


@triton.jit
def forward(  # type: ignore[no-untyped-def]
    a_in, weight, norm, bias, y_in, thresholds, top_out, total_out, sum_out, counts_out,
    samples, classes, dim, part, floor,
    centres: tl.constexpr, unit: tl.constexpr, biased: tl.constexpr, precision: tl.constexpr,
    counted: tl.constexpr, summed: tl.constexpr,
    block_n: tl.constexpr, block_c: tl.constexpr, block_d: tl.constexpr, block_t: tl.constexpr,
):  # fmt: skip
    """One tile of samples against one part of the classes.

    Writes the largest logit (`top`), Σ e^{z - top}, if `summed` Σ e^{z - top}·p, and the counts above the thresholds.
    """
    n = tl.program_id(0) * block_n + tl.arange(0, block_n)
    lanes = tl.arange(0, block_d)
    there = n < samples
    a = tl.load(a_in + n[:, None] * dim + lanes[None, :], mask=there[:, None] & (lanes < dim)[None, :], other=0.0)
    y = tl.load(y_in + n, mask=there, other=-1)
    top = tl.full((block_n,), float("-inf"), dtype=a.dtype)
    total = tl.zeros((block_n,), dtype=a.dtype)
    weighted = tl.zeros((block_n, block_d), dtype=a.dtype)
    which = tl.arange(0, block_t)
    counts = tl.zeros((block_n, block_t), dtype=tl.int32)

    first = tl.program_id(1).to(tl.int64) * part
    for start in range(first, tl.minimum(first + part, classes), block_c):
        columns = start + tl.arange(0, block_c).to(tl.int64)
        inside = columns < classes
        z, centre, p = _tile(
            a, weight, norm, bias, columns, inside, y, lanes, dim, floor, centres, unit, biased, precision
        )
        for t in tl.static_range(counted):
            threshold = tl.load(thresholds + t * samples + n, mask=there, other=float("inf"))
            above = tl.sum((z > threshold[:, None]).to(tl.int32), axis=1)
            counts += tl.where(which == t, 1, 0)[None, :] * above[:, None]
        before = top
        top = tl.maximum(before, tl.max(z, axis=1))
        base = tl.where(top == float("-inf"), 0.0, top)
        z = tl.exp(z - base[:, None])
        shrunk = tl.exp(before - base)
        total = total * shrunk + tl.sum(z, axis=1)
        if summed:
            weighted = weighted * shrunk[:, None]
            if centres == 1:
                weighted = _product(z, p, weighted, precision)
            else:
                for k in range(centres):
                    of_k = _prototypes(weight, norm, columns * centres + k, inside, lanes, dim, floor, unit)
                    weighted = _product(tl.where(centre == k, z, 0.0), of_k, weighted, precision)

    at = tl.program_id(1).to(tl.int64) * samples + n
    tl.store(top_out + at, top, mask=there)
    tl.store(total_out + at, total, mask=there)
    if summed:
        mask = there[:, None] & (lanes < dim)[None, :]
        tl.store(sum_out + at[:, None] * dim + lanes[None, :], weighted, mask=mask)
    if counted > 0:
        mask = there[:, None] & (which < counted)[None, :]
        tl.store(counts_out + at[:, None] * counted + which[None, :], counts, mask=mask)


@triton.jit
def backward(  # type: ignore[no-untyped-def]
    a_in, weight, norm, bias, y_in, logsumexp, gradient, to_weight, to_bias,
    samples, classes, dim, floor,
    centres: tl.constexpr, unit: tl.constexpr, biased: tl.constexpr, precision: tl.constexpr,
    block_n: tl.constexpr, block_c: tl.constexpr, block_d: tl.constexpr,
):  # fmt: skip
    """One tile of classes against all samples, for one centre of each: the gradients of Σ gradient·L to W and b."""
    columns = tl.program_id(0).to(tl.int64) * block_c + tl.arange(0, block_c)
    own = tl.program_id(1)
    inside = columns < classes
    rows = columns * centres + own
    lanes = tl.arange(0, block_d)
    p = _prototypes(weight, norm, rows, inside, lanes, dim, floor, unit)
    to_p = tl.zeros((block_c, block_d), dtype=p.dtype)
    to_b = tl.zeros((block_c,), dtype=p.dtype)

    for start in range(0, samples, block_n):
        n = start + tl.arange(0, block_n)
        there = n < samples
        a = tl.load(a_in + n[:, None] * dim + lanes[None, :], mask=there[:, None] & (lanes < dim)[None, :], other=0.0)
        y = tl.load(y_in + n, mask=there, other=-1)
        if centres == 1:
            z = _logits(a, p, bias, rows, inside, biased, precision)
            z = tl.where(inside[None, :] & (columns[None, :] != y[:, None]), z, float("-inf"))
        else:
            z, centre, _ = _tile(
                a, weight, norm, bias, columns, inside, y, lanes, dim, floor, centres, unit, biased, precision
            )
            z = tl.where(centre == own, z, float("-inf"))
        base = tl.load(logsumexp + n, mask=there, other=0.0)
        base = tl.where(base == float("-inf"), 0.0, base)
        share = tl.exp(z - base[:, None]) * tl.load(gradient + n, mask=there, other=0.0)[:, None]
        to_p = _product(tl.trans(share), a, to_p, precision)
        if biased:
            to_b += tl.sum(share, axis=0)

    if unit:
        length = tl.load(norm + rows, mask=inside, other=1.0)
        to_p -= tl.sum(to_p * p, axis=1)[:, None] * p
        to_p *= tl.where(length < floor, 0.0, 1.0 / length)[:, None]
    mask = inside[:, None] & (lanes < dim)[None, :]
    tl.store(to_weight + rows[:, None] * dim + lanes[None, :], to_p.to(to_weight.dtype.element_ty), mask=mask)
    if biased:
        tl.store(to_bias + rows, to_b.to(to_bias.dtype.element_ty), mask=inside)
