"""The command `coala-jax`: one module a command; each parses, calls and prints."""
