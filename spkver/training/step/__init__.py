"""One training step: network, loss, gradient, optimizer."""
