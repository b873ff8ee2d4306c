"""`python -m spkver` is the command `spkver`; torchrun starts it so."""

import os

from spkver.cli import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        if end.code == 0 and "RANK" in os.environ:
            from spkver.training.parallel.distributed import leave

            leave()
        raise
