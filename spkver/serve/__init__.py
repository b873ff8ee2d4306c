"""The HTTP service: embeddings, decisions and a speaker book for other programs. See README.md."""
