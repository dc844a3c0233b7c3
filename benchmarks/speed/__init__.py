"""How fast the night is, beside bare loops over the same libraries and beside others."""
