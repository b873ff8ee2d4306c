"""`python -m spkver` is the command `spkver`."""

from spkver.cli import main

main()
