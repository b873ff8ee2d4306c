"""Checkpoints, class weights, initial weights, and the record of what a run was started with."""
