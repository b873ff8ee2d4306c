"""The papers' small experiments, in two dimensions where the eye can follow: what the losses do to angles."""
