"""What a corpus is like and what looks wrong with it: levels, noise, clipping, duplicates, suspicious speakers."""
