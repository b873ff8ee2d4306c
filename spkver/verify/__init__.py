"""From scores to decisions: a threshold one can use, verdicts on recordings, and a book of speakers."""
