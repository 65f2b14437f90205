"""The house is as docs/architecture.md draws it: floors, file tables, and what packages promise."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "coala_jax"
TEXT = (HOUSE.parent / "docs" / "architecture.md").read_text()
# What `export-head --to torch` writes.
WRITTEN = {"reward_head.py"}
# Of lmarena/arena-hard-auto, which its users have.
THEIRS = {"add_markdown_info.py", "gen_answer.py", "judge_utils.py", "show_result.py"}
# Their modules are one a command, or few; the floors say what they are for.
WITHOUT_TABLE = {"cli", "quickstart", "study"}


def dotted_name(file: Path) -> str:
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {dotted_name(file): file for file in sorted(HOUSE.rglob("*.py"))}
PACKAGES = [name for name, file in MODULES.items() if file.name == "__init__.py"]


def floors() -> list[str]:
    """Packages and modules of the block at the top, the highest floor first."""
    block = TEXT.split("```text")[1].split("```")[0]
    return [name.strip("/").removesuffix(".py") for name in re.findall(r"(?m)^(\S+)", block)]


FLOORS = floors()


def floor_of(module: str) -> str:
    return module.split(".")[1]


def listed_files() -> list[str]:
    """Files and folders of the tables; a name without a folder lies beside the one before it."""
    listed = []
    for cell in re.findall(r"(?m)^\| (`[^|]*(?:\.py|/)`[^|]*) \|", TEXT):
        folder = ""
        for name in re.findall(r"`([^`]+)`", cell):
            folder = str(Path(name).parent) if "/" in name.strip("/") else folder
            listed.append(name if "/" in name else f"{folder}/{name}")
    return listed


class Imports(ast.NodeVisitor):
    """What a module imports of the house, in functions and for types too.

    Attributes:
        modules: dotted names of modules.
        names: (module, name) of what is no module, attributes of imported modules among them.
    """

    def __init__(self, name: str):
        self.modules, self.names, self._aliases = set(), set(), {}
        self.visit(ast.parse(MODULES[name].read_text()))

    def visit_Import(self, node):
        self.modules |= {alias.name for alias in node.names if alias.name in MODULES}

    def visit_ImportFrom(self, node):
        assert node.level == 0, f"line {node.lineno}: a relative import"
        for alias in node.names if node.module in MODULES else ():
            inner = f"{node.module}.{alias.name}"
            if inner in MODULES:
                self.modules.add(inner)
                self._aliases[alias.asname or alias.name] = inner
            else:
                self.modules.add(node.module)
                self.names.add((node.module, alias.name))

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id in self._aliases:
            self.names.add((self._aliases[node.value.id], node.attr))
        self.generic_visit(node)


IMPORTS = {name: Imports(name) for name in MODULES}
INSIDE = [name for name in MODULES if name != "coala_jax"]


def test_every_package_and_module_of_the_house_stands_on_one_floor():
    assert sorted(FLOORS) == sorted({floor_of(name) for name in INSIDE})


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor):
    height = FLOORS.index(floor)
    upwards = [
        f"{name} imports {target}"
        for name in INSIDE
        if floor_of(name) == floor
        for target in IMPORTS[name].modules
        if target == "coala_jax" or FLOORS.index(floor_of(target)) < height
    ]
    assert upwards == []


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {name: imports.modules - {name} for name, imports in IMPORTS.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_no_package_uses_anothers_private_names():
    private = [
        f"{name} uses {module}.{used}"
        for name in INSIDE
        for module, used in IMPORTS[name].names
        if used.startswith("_") and not used.endswith("__") and floor_of(module) != floor_of(name)
    ]
    assert private == []


def test_the_tables_of_the_doc_list_every_file_that_there_is_once():
    listed = listed_files()
    assert len(listed) == len(set(listed))
    folders = [entry for entry in listed if entry.endswith("/")]
    assert [entry for entry in listed if not (HOUSE / entry).exists()] == []
    files = [str(file.relative_to(HOUSE)) for file in MODULES.values()]
    missing = [
        file
        for file in files
        if "/" in file
        and not file.endswith("__init__.py")
        and file.split("/")[0] not in WITHOUT_TABLE
        and file not in listed
        and not file.startswith(tuple(folders))
    ]
    assert missing == []
    assert not WITHOUT_TABLE & {entry.split("/")[0] for entry in listed}


@pytest.mark.parametrize("doc", sorted((HOUSE.parent / "docs").glob("*.md")), ids=lambda f: f.name)
def test_files_that_a_doc_names_are_there(doc):
    there = {file.name for file in HOUSE.parent.rglob("*.py")}
    named = re.findall(r"([\w/]+\.py)\b", doc.read_text())
    assert {Path(name).name for name in named} - there - WRITTEN - THEIRS == set()


def test_every_module_is_private_and_names_are_promised_by_packages():
    public = [name for name in set(MODULES) - set(PACKAGES) if name.split(".")[-1][0] != "_"]
    assert public == []
