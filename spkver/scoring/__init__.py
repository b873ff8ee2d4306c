"""Scores of trial lists, and what they are worth."""
