"""Reductions over the classes of a head, selected by `head.reduction`.

`dense`, `chunked` and `fused` give the same result up to rounding, and differ in time and memory. `split` (classes
divided over processes) and `sample` (a random share of the classes in each step) select the rows of W for a reduction,
and work with all of them. `passes` has further reductions for some losses.
"""
