"""What a run measures and reports: log, dev error rates, pace, memory."""
