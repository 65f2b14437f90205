"""The embedded default: concept base, tutoring conversations, and a small backbone."""
