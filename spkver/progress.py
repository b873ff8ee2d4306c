"""Progress bars, shown on terminals only."""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm


def bar(*, total: float | None, what: str, unit: str = "it", **options: Any) -> tqdm:
    """A progress bar that is shown only on a terminal. Use it as a context manager and call `update`."""
    # under torchrun, only the first process shows it
    disable = True if os.environ.get("RANK", "0") != "0" else None
    return tqdm(total=total, desc=what, unit=unit, disable=disable, dynamic_ncols=True, smoothing=0.1, **options)
