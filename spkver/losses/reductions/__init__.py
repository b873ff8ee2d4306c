"""Reductions: how a head's pass over the other classes is computed, chosen by `head.reduction`; and over which classes.

`dense`, `chunked` and `fused` give the same numbers to rounding and differ in time and memory. `split` (the classes
divided over processes) and `sample` (a share of them drawn each step) say which rows of W a reduction reads, and
combine with each of them. `passes` are for losses that ask for more.
"""
