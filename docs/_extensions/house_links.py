"""References to public names by any of their paths, and pages of classes that link to what they inherit."""

import inspect
from typing import Any

import public_api
from docutils import nodes
from sphinx.addnodes import desc_content, desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the resolver, and give the templates of autosummary what they call."""
    app.connect("missing-reference", resolve)
    app.connect("env-updated", add_aliases)
    app.connect("autodoc-process-bases", keep_public_bases)
    app.connect("object-description-transform", add_anchors)
    app.config.autosummary_context = {"aliases": public_api.aliases, "inherited": inherited, "bases": public_bases}
    return {"parallel_read_safe": True}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: nodes.Element) -> nodes.Node | None:
    """Resolve a public name that was written by another path; type hints of other packages stay plain text."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    name = public_api.full_name(target, node.get("py:module"), node.get("py:class"))
    objects = env.domains["py"].objects
    if name in objects:
        found = objects[name]
        return _link(app, node, found.docname, found.node_id, contents)
    return contents if _is_a_type(node) or not target.startswith("robustgames") else None


def _link(app: Sphinx, node: pending_xref, docname: str, anchor: str, contents: nodes.Element) -> nodes.reference:
    uri = app.builder.get_relative_uri(node.get("refdoc", ""), docname)
    return nodes.reference("", "", contents, internal=True, refuri=f"{uri}#{anchor}")


def _is_a_type(node: nodes.Node) -> bool:
    """Return whether a reference comes from a signature or a base class, which no author wrote by hand."""
    while node.parent is not None:
        if isinstance(node, desc_signature):
            return True
        if isinstance(node, desc_content):
            return isinstance(node.children[0], nodes.paragraph) and "Bases" in node.children[0].astext()[:6]
        node = node.parent
    return False


def add_aliases(app: Sphinx, env: BuildEnvironment) -> None:
    """Enter every other path of a public name, so that code on the pages of the gallery links to it."""
    objects = env.domains["py"].objects
    for name in public_api.documented():
        for alias in public_api.aliases(name) if name in objects else ():
            objects.setdefault(alias, objects[name]._replace(aliased=True))


def add_anchors(app: Sphinx, domain: str, objtype: str, content: nodes.Element) -> None:
    """Add the anchors to which the source pages of viewcode link: it takes one package for all names of a file."""
    for signature in content.parent.findall(desc_signature) if domain == "py" else ():
        name = signature.get("fullname", "")
        value = public_api.found(f"{signature.get('module')}.{name.partition('.')[0]}")
        home = getattr(value, "__module__", None) or "robustgames"
        every = [f"{place}.{name}" for place in ("robustgames", ".".join(home.split(".")[:2]))]
        signature["ids"] += [anchor for anchor in dict.fromkeys(every) if anchor not in signature["ids"]]


def public_bases(name: str) -> list[type]:
    """Return the documented bases of a class."""
    return [base for base in public_api.documented()[name].__bases__ if id(base) in public_api.names_of_objects()]


def keep_public_bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """Leave out `ABC`, `Movable` and the like."""
    bases[:] = public_bases(name) if name in public_api.documented() else bases


def inherited(name: str) -> list[tuple[str, list[str]]]:
    """Return (documented base, its members that the class does not override) for the bases of a class."""
    cls = public_api.documented()[name]
    seen, found = set(vars(cls)), []
    for base in inspect.getmro(cls)[1:]:
        if id(base) in public_api.names_of_objects():
            own = [word for word, value in vars(base).items() if not word.startswith("_") and _is_documented(value)]
            fresh = [word for word in own if word not in seen]
            found += [(public_api.names_of_objects()[id(base)], fresh)] if fresh else []
        seen |= set(vars(base))
    return found


def _is_documented(value: Any) -> bool:
    return bool(inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod))
