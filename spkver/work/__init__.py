"""Large pieces of work, in parts, on one machine or on many.

`Work` describes the parts of an output, how one part is made, and how they are gathered. `run` makes the parts on an
engine, keeps those that exist, and gathers them. The engine is `Local` (this process, or a pool) or `Ray` (a cluster).
"""

from spkver.work.engine import Engine, Local, engine
from spkver.work.parts import Maker, Share, Work, Written, gather, rows_per_part, run

__all__ = ["Engine", "Local", "Maker", "Share", "Work", "Written", "engine", "gather", "rows_per_part", "run"]
