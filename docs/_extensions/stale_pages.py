"""Generated pages whose source is gone, which would otherwise stay in the site of this folder."""

from pathlib import Path
from typing import Any

import public_api
from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect before pages are generated."""
    app.connect("builder-inited", remove, priority=50)
    return {"parallel_read_safe": True}


def remove(app: Sphinx) -> None:
    """Remove pages of examples and of public names that do not exist anymore."""
    for gallery in ("lecture", "howto"):
        for page in (DOCS / gallery).glob("plot_*.rst"):
            if not (DOCS.parent / "examples" / gallery / f"{page.stem}.py").exists():
                for file in (DOCS / gallery).glob(f"{page.stem}.*"):
                    file.unlink()
    for page in (DOCS / "reference" / "generated").glob("*.rst"):
        if page.stem not in public_api.documented():
            page.unlink()
