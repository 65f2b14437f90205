"""Backbones on several devices: which device holds which part of a parameter and of a batch.

A mesh has two axes. Rows of a batch are split over ``data``, where every device has its own copy
of the parameters; parameters are split over ``model``, so that a model may be larger than a device.
The modules know of neither: XLA follows where its inputs lie and adds the communication.
"""

import jax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from coala_jax._errors import CoalaError
from coala_jax.backbones._family import Split

DATA, MODEL = "data", "model"


def device_mesh(devices: int | None = None, model_parallel: int = 1) -> Mesh:
    """A mesh of this process's devices.

    Args:
        devices: how many to use, the first ones; None means all.
        model_parallel: devices that hold one copy of the parameters together; must divide the
            number of devices.

    Returns:
        A mesh of ``devices / model_parallel`` (``data``) times ``model_parallel`` (``model``).

    Raises:
        ValueError: more devices than there are, or sizes that do not fit.

    Example:
        >>> from coala_jax.backbones import device_mesh
        >>> device_mesh(1).size
        1
    """
    local = jax.local_devices()
    count = len(local) if devices is None else devices
    if not 1 <= count <= len(local):
        raise CoalaError(
            f"devices={count}: this process has {len(local)} ({local[0].platform}); give 1 to "
            f"{len(local)}"
        )
    if model_parallel < 1 or count % model_parallel:
        raise CoalaError(f"model_parallel={model_parallel} must divide the {count} devices")
    return jax.make_mesh(
        (count // model_parallel, model_parallel),
        (DATA, MODEL),
        # Computation follows the data; explicit axes would ask every operation for its sharding.
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=local[:count],
    )


def mesh_of(module: nnx.Module) -> Mesh | None:
    """The mesh that a module's parameters were placed on; None on a single device."""
    weights = jax.tree.leaves(nnx.state(module, nnx.Param))
    sharding = weights[0].sharding if weights else None  # the torch engine has none of jax
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        return sharding.mesh if sharding.mesh.axis_names == (DATA, MODEL) else None
    return None


def parameter_sharding(mesh: Mesh, split: Split | None, rank: int) -> NamedSharding:
    """Where a parameter lies: split over ``model``, or whole on every device.

    Args:
        mesh: of `device_mesh`.
        split: how the family splits it; None means not at all.
        rank: its number of axes.

    Returns:
        Its sharding. Where the mesh's axis does not divide the parts it stays whole, which takes
        memory and time but changes nothing else.
    """
    axes: list[str | None] = [None] * rank
    together = mesh.shape[MODEL]
    if split is not None and together > 1 and split.parts % together == 0:
        axes[split.axis] = MODEL
    return NamedSharding(mesh, PartitionSpec(*axes))


def row_sharding(mesh: Mesh) -> NamedSharding:
    """Where an array lies whose leading axis is the rows of a batch, a multiple of ``data``."""
    return NamedSharding(mesh, PartitionSpec(DATA))
