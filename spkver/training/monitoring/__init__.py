"""Measurements during training: log, dev error rates, speed, memory."""
