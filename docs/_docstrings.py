"""How Sphinx reads the docstrings of the house: their links, their bars, their fields."""

from sphinx.addnodes import pending_xref
from sphinx.util.nodes import make_refnode

# What a bare name may stand for; `features` is an argument more often than the package.
NAMED = ("function", "class", "exception", "data")


def leave_bare_names(app, doctree) -> None:
    """Names without a dot are looked up by `find_public` alone."""
    for node in doctree.findall(pending_xref):
        if node.get("reftype") == "obj" and "." not in node["reftarget"]:
            node["package"] = node.attributes.pop("py:module", None)
            node.attributes.pop("py:class", None)


def find_public(app, env, node, contnode):
    """A link to the public place of what text or a signature names by its bare or private name.

    `Params` on the page of a subpackage, `coala_jax._types.Params` in a signature and
    `Config.model`, a field, lead to `coala_jax.Params` and `coala_jax.Config`. A name that several
    packages have is that of the page's own package, or none.
    """
    if node.get("refdomain") != "py":
        return None
    objects = env.get_domain("py").objects
    target = node["reftarget"]
    here = node.get("package") or node.get("py:module")
    bare = target.rpartition(".")[2] if target.startswith("coala_jax.") else target
    for name in filter(None, (bare, bare.rpartition(".")[0])):
        kinds = NAMED if "." not in name else (*NAMED, "method", "property", "attribute")
        ends = [each for each in objects if each.endswith(f".{name}")]
        ends = sorted((each for each in ends if objects[each].objtype in kinds), key=_depth)
        public = [each for each in ends if _depth(each) == _depth(ends[0])]
        found = [each for each in ends if each == f"{here}.{name}"] or public
        if len(found) == 1:
            place = objects[found[0]]
            at = (node["refdoc"], place.docname, place.node_id)
            return make_refnode(app.builder, *at, contnode)
    return None


def _depth(dotted: str) -> int:
    return dotted.count(".")


def skip_fields(app, what, name, value, skip, options) -> bool | None:
    """Whether a member is a field of a NamedTuple, which Python alone describes."""
    return True if (getattr(value, "__doc__", "") or "").startswith("Alias for field") else None


def escape_bars(app, what, name, value, options, lines: list[str]) -> None:
    """Docstrings write |x| for an absolute value, which reStructuredText takes for a name."""
    in_example = False
    for number, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            lines[number] = line.replace("|", "\\|")
