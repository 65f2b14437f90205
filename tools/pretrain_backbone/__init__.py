"""The factory of the embedded backbone: ``python -m tools.pretrain_backbone --out DIR``."""
