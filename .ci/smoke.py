"""Smoke test of an installed wheel: its assets are inside and a solve works. No checkout needed."""

import importlib.resources
import pathlib

import numpy as np

import coala_jax


def main() -> None:
    """Fail loudly if the wheel lacks an asset or cannot solve."""
    package = importlib.resources.files("coala_jax")
    assert "site-packages" in str(package), f"{package} is not the installed wheel"
    assets = ["py.typed", "quickstart/backbone/model.safetensors", "quickstart/concepts"]
    assets += ["decoding/templates/comparison.html.j2", "study/templates/chart.svg.j2"]
    assets += ["evaluation/blind/templates/study.js"]
    missing = [name for name in assets if not pathlib.Path(str(package / name)).exists()]
    assert not missing, f"the wheel lacks {missing}"
    rng = np.random.default_rng(0)
    features = coala_jax.PreferenceFeatures(
        rng.normal(0.5, 1, (64, 4)).astype("float32"), rng.normal(0, 1, (64, 4)).astype("float32")
    )
    coala_jax.solve(coala_jax.Params(), features).raise_for_status()
    print("wheel:", coala_jax.__version__, "solved")


if __name__ == "__main__":
    main()
