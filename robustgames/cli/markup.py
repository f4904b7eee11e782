"""HTML from functions: every text is escaped, and only elements are not."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from robustgames.disk import printable

VOID = {"img", "meta"}
STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is loaded, and no script runs


class Html(str):
    """Text that is HTML already."""


Part = str | int | float | None | Iterable["Part"]


def join(*parts: Part) -> Html:
    """Return parts one after the other: `Html` as it is, texts and numbers escaped, None as nothing.

    Example:
        >>> join("a < b", None, tag("b", [1, "&"]))
        'a &lt; b<b>1&amp;</b>'
    """
    texts = []
    for part in parts:
        if isinstance(part, Html):
            texts.append(str(part))
        elif isinstance(part, str | int | float):
            texts.append(escape(printable(str(part))))
        elif part is not None:
            texts.append(str(join(*part)))
    return Html("".join(texts))


def tag(name: str, /, *parts: Part, **attributes: str | float | bool | None) -> Html:
    """Return an element. Of an attribute's name a last "_" is dropped, and "_" becomes "-"; None and False omit it.

    Example:
        >>> tag("p", "x > y", class_="note", title='say "x"')
        '<p class="note" title="say &quot;x&quot;">x &gt; y</p>'
    """
    words = [name]
    for key, value in attributes.items():
        key = key.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(printable(str(value)))}"')
    opened = f"<{' '.join(words)}>"
    return Html(opened if name in VOID and not parts else f"{opened}{join(*parts)}</{name}>")


def table(heads: Iterable[Part], rows: Iterable[Iterable[Part]], note: str = "", class_: str | None = None) -> Html:
    """Return a table below a note, in a box that scrolls by itself; the first column holds the names of the rows."""
    head = tag("tr", [tag("th", part, scope="col") for part in heads])
    body = []
    for first, *rest in rows:
        body.append(tag("tr", tag("th", first, scope="row"), [tag("td", part) for part in rest]))
    whole = tag("table", tag("thead", head), tag("tbody", body), class_=class_)
    return join(tag("p", note, class_="note") if note else None, tag("div", whole, class_="scroll"))


def document(title: str, *body: Part) -> Html:
    """Return a whole page, with its style and without anything from elsewhere."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    return Html(f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body), lang='en')}\n")
