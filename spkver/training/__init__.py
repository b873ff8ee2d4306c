"""Training: batches that are a function of the step, the loop, optimizers, checkpoints, dev error rates."""
