"""Progress bars: rate and time left on a terminal, silence elsewhere."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm


def bar(*, total: float | None, what: str, unit: str = "it", **options: Any) -> tqdm:
    """A progress bar that shows itself only on a terminal. Use it as a context manager and call `update`."""
    # of the processes that torchrun starts the first one shows what all do
    disable = True if os.environ.get("RANK", "0") != "0" else None
    return tqdm(total=total, desc=what, unit=unit, disable=disable, dynamic_ncols=True, smoothing=0.1, **options)
