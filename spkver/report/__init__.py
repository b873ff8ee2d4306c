"""Results of one or more systems: tables and DET curves."""
