"""How to install what an optional feature needs, in one place for all messages."""


def how_to_install(*extras: str) -> str:
    """The command that installs extras of the package, and where to give it.

    Args:
        extras: names from ``[project.optional-dependencies]`` of pyproject.toml.
    """
    return (
        f"pip install '.[{','.join(extras)}]' in the folder of coala-jax's source, which is not on "
        "an index yet"
    )
