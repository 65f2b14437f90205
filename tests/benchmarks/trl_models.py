"""Where TRL is, and the models that it trains in tests of contenders. Needs `make bench-env`."""

import os
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parents[2]
BACKBONE = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
PYTHON = Path(os.environ.get("COALA_BENCH_TRL", ROOT / ".venvs/bench-trl/bin/python"))
CONTENDERS = ROOT / "benchmarks" / "contenders"
LLAMA = {
    "model_type": "llama",
    "vocab_size": 2048,  # of the embedded backbone, whose tokenizer it has
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
# In which a checkpoint's weights are, and its products.
DTYPES = {"gpt2": "float32", "llama": "bfloat16"}
