"""Check the links of a built site: every file and anchor exists, and no page loads anything from elsewhere."""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

LOADED = {"img": "src", "script": "src", "link": "href", "source": "src"}


class Page(HTMLParser):
    """The anchors and the links of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[tuple[str, str]] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[name] or "" for name in ("id", "name") if name in given}
        link = given.get("href" if tag == "a" else LOADED.get(tag, ""))
        if link and not link.startswith(("mailto:", "data:")):
            self.links.add((tag, link))


@cache
def page(path: Path) -> Page:
    """Return a page, read once."""
    return Page(path)


def fault(source: Path, tag: str, link: str) -> str | None:
    """Return what is wrong with a link of a page, or None."""
    if link.startswith(("http:", "https:", "//")):
        return None if tag == "a" else "is loaded from elsewhere"
    path, anchor = urldefrag(link)
    target = (source.parent / unquote(path.partition("?")[0])).resolve() if path else source
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "does not exist"
    missing = anchor and target.suffix == ".html" and unquote(anchor) not in page(target).anchors
    return "has no such anchor" if missing else None


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    every = [(path, *link) for path in sorted(site.rglob("*.html")) for link in sorted(page(path).links)]
    faults = [f"{path.relative_to(site)}: {link} {why}" for path, tag, link in every if (why := fault(path, tag, link))]
    print(*faults, f"{len(every)} links, {len(faults)} faults", sep="\n")
    sys.exit(bool(faults))
