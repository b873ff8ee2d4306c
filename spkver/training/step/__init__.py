"""One training step: network, loss, optimizer, and what belongs to them."""
