"""Use a head: rewards of texts, and what is built on them. Needs flax and transformers."""
