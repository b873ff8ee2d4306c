"""From scores to decisions: thresholds, verdicts on recordings, and the speaker book."""
