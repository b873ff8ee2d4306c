"""Statistics of a corpus, and likely problems: levels, noise, clipping, duplicates, wrong labels."""
