"""What results depend on beside the input: versions of packages, the device."""

import importlib.metadata
import os
import platform

import jax

from coala_jax._version import __version__

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "safetensors", "flax", "transformers")


def versions() -> dict[str, str]:
    """Versions of this package, Python, and what results depend on, where installed."""
    found = {"coala_jax": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """What the solver could run on, for example ``cpu (2 cores, x86_64)``.

    Several devices are counted, and processes.
    """
    devices, processes = jax.devices(), jax.process_count()
    first = devices[0]
    text = f"{first.platform} ({first.device_kind})"
    if first.platform == "cpu":
        text = f"cpu ({os.cpu_count()} cores, {platform.machine()})"
    if len(devices) > 1:
        text += f", {len(devices)} devices"
    return text + (f" of {processes} processes" if processes > 1 else "")
