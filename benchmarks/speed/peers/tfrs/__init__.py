"""A peer in the package's own environment."""
