"""Scoring of trial lists, and evaluation of scores."""
