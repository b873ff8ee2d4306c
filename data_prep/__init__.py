"""Corpora to data directories: one module per corpus."""
