"""Make data directories from corpora: one module per corpus."""
