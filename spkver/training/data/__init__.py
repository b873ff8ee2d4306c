"""Training batches: which utterances and crops, how they are read and augmented."""
