"""MathJax without a network: one file of the package sphinx-mathjax-offline is copied into the site."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

FILE = "tex-svg.js"  # formulas as SVG: no fonts to load


def setup(app: Sphinx) -> dict[str, Any]:
    """Set the path of MathJax, and copy it before pages are written."""
    app.config.mathjax_path = FILE
    app.config.mathjax3_config = {"options": {"enableMenu": False}}  # its menu loads further files
    app.connect("builder-inited", copy)
    return {"parallel_read_safe": True}


def copy(app: Sphinx) -> None:
    """Copy the file to `_static`."""
    package = find_spec("sphinx-mathjax-offline")
    assert package and package.origin
    copy_asset(Path(package.origin).parent / "static" / "mathjax" / FILE, app.outdir / "_static")
