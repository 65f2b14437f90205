"""Names of a package that are imported when they are asked for, not with the package."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]], subpackages: Sequence[str] = ()
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names live in modules that need optional packages.

    Args:
        package: its ``__name__``.
        modules: of the package, with the lazy names that live in each.
        subpackages: that are names themselves, whether they have been imported or not.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> Any:
        if name in subpackages:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find
