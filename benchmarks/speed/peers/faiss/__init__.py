"""A peer in an environment of its own."""
