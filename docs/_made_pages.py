"""Pages that are made at a build: the reference, from `__all__`, and copies from outside docs/."""

import ast
import importlib
import inspect
import itertools
import os
import pkgutil
import re
import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

# Files at the top of the repository that have a page.
ROOT_PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[\w./-]+)(?P<rest>[^)]*)\)")
KINDS = ("Functions", "Classes", "Errors", "Values")


def copy_pages(sources: Iterable[Path], target: Path, root: Path) -> None:
    """Copies of files where Sphinx looks for pages; those that are gone are removed.

    Args:
        sources: notebooks with their outputs, or texts; those that do not exist are left out.
        target: the folder of the copies.
        root: of the repository.
    """
    target.mkdir(exist_ok=True)
    pages = {}
    for source in filter(Path.exists, sources):
        text = source.read_text(encoding="utf-8")
        pages[source.name] = relinked(text, source, target / source.name, root).encode()
    _write_folder(target, pages)


def relinked(text: str, source: Path, page: Path, root: Path) -> str:
    """Markdown whose links within the repository lead to pages of the site, where they have one.

    Other files are linked to as they are, and Sphinx copies them; folders are named without a link.

    Args:
        text: of the file.
        source: the file, from which its links go.
        page: where its page is.
        root: of the repository.
    """

    def link(found: re.Match[str]) -> str:
        linked = Path(os.path.normpath(source.parent / found["path"]))
        if not linked.exists() or not linked.is_relative_to(root):
            return found[0]
        if linked.is_dir():
            return found["text"]
        moved = os.path.relpath(_place(linked, root), page.parent)
        return f"[{found['text']}]({moved}{found['rest']})"

    return _LINK.sub(link, text)


def _place(file: Path, root: Path) -> Path:
    """Where the page of a file of the repository is; the file itself where it has none."""
    if file == root / "README.md":
        return root / "docs" / "index.md"
    if file.parent == root and file.name in ROOT_PAGES:
        return root / "docs" / "project" / file.name
    if file.parent == root / "notebooks":
        return root / "docs" / "notebooks" / file.name
    return file


def write_reference(package: ModuleType, target: Path) -> None:
    """A page for each public package that promises names, and an index of them."""
    target.mkdir(exist_ok=True)
    homes: dict[int, str] = {}
    pages = {}
    for name in public_packages(package):
        module = importlib.import_module(name)
        if getattr(module, "__all__", None):
            pages[f"{name}.rst"] = _page(module, homes).encode()
    listed = "\n".join(f"   {name.removesuffix('.rst')}" for name in pages)
    title = _heading("API reference", "=")
    pages["index.rst"] = f"{title}\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n".encode()
    _write_folder(target, pages)


def public_packages(package: ModuleType) -> list[str]:
    """Dotted names of a package and the public packages below it."""
    below = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [
        package.__name__,
        *(each.name for each in below if each.ispkg and "._" not in each.name),
    ]


def _page(module: ModuleType, homes: dict[int, str]) -> str:
    """The page of a package; names that a page before it has are links to it.

    Args:
        module: the package.
        homes: dotted names of the values that have a place; those of this page are added.
    """
    parts = [_heading(module.__name__, "="), f".. automodule:: {module.__name__}\n"]
    elsewhere = []
    for kind in KINDS:
        directives = []
        for name in _public(module):
            value, dotted = getattr(module, name), f"{module.__name__}.{name}"
            if _kind(value) != kind:
                continue
            home = homes.setdefault(id(value), dotted) if callable(value) else dotted
            if home == dotted:
                directives.append(_directive(kind, module, name))
            else:
                elsewhere.append(f"- :py:obj:`{home}`")
        if directives:
            parts += [_heading(kind, "-"), *directives]
    if elsewhere:
        parts += [_heading("Described elsewhere", "-"), *elsewhere, ""]
    return "\n".join(parts)


def _public(module: ModuleType) -> list[str]:
    return sorted((each for each in module.__all__ if not each.startswith("__")), key=str.lower)


def _kind(value: object) -> str:
    if inspect.isclass(value):
        return "Errors" if issubclass(value, Exception) else "Classes"
    return "Functions" if inspect.isroutine(value) or hasattr(value, "__wrapped__") else "Values"


def _directive(kind: str, module: ModuleType, name: str) -> str:
    dotted = f"{module.__name__}.{name}"
    if kind == "Functions":
        return f".. autofunction:: {dotted}\n"
    if kind == "Values":
        text = textwrap.indent(value_text(module, name), "   ")
        return f".. py:data:: {dotted}\n\n{text}\n"
    return f".. autoclass:: {dotted}\n   :members:\n"


def value_text(package: ModuleType, name: str) -> str:
    """What the source says of a constant: the string behind it, else what its file is of."""
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for statement, following in itertools.zip_longest(tree.body, tree.body[1:]):
            if name in _assigned(statement):
                said = following if isinstance(following, ast.Expr) else None
                text = getattr(getattr(said, "value", None), "value", None)
                return inspect.cleandoc(text) if isinstance(text, str) else ast.get_docstring(tree)
    raise LookupError(f"{package.__name__}.{name} is assigned in no file of its package")


def _assigned(statement: ast.stmt) -> set[str]:
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def _write_folder(target: Path, files: dict[str, bytes]) -> None:
    """Write what differs, so that a second build reads only that, and remove what else is there."""
    for path in target.iterdir():
        if path.name not in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        path = target / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
