"""An OpenAI-compatible server of guided generation and rewards. Needs the extra ``serve``."""
