"""The batches of a step: which utterances, which crops, how they are read and changed."""
