"""The curve of a report as inline SVG, which follows the colors of the page."""

from __future__ import annotations

from robustgames.cli.markup import Html, join, tag
from robustgames.experiment.folder import Content

WIDE, TALL = 480, 284
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 26, 46  # margins of the axes


def curve_plot(curve: Content, eps: float, norm: str) -> Html:
    """Return accuracy against the radius with its 95 % band, and the radius of the attack as a dashed line."""
    radii, shares, last = curve["eps"], curve["accuracy"], curve["eps"][-1]
    band = [*zip(radii, [high for _, high in curve["intervals"]], strict=True)]
    band += [*zip(radii, [low for low, _ in curve["intervals"]], strict=True)][::-1]
    points = [*zip(radii, shares, strict=True)]
    label = f"Accuracy under attack falls from {_percent(shares[0])} at radius 0 to {_percent(shares[-1])} at {last:g}"
    drawn = [
        *(_level(share) for share in (0, 0.25, 0.5, 0.75, 1)),
        *(_radius(last * k / 4, last) for k in range(5)),
        tag("polygon", points=_path(band, last), class_="band"),
        tag("line", x1=_x(eps, last), x2=_x(eps, last), y1=_y(1), y2=_y(0), class_="mark"),
        _text(f"eps {eps:g}", _x(eps, last), TOP - 9),
        tag("polyline", points=_path(points, last), class_="curve"),
        _text(f"radius ({norm})", (LEFT + WIDE - RIGHT) / 2, TALL - 6),
    ]
    if len(points) <= 10:
        drawn += [
            tag("circle", tag("title", f"radius {r:g}: {_percent(s)}"), cx=_x(r, last), cy=_y(s), r=4, class_="dot")
            for r, s in points
        ]
    return tag("svg", *drawn, viewBox=f"0 0 {WIDE} {TALL}", role="img", aria_label=label, class_="plot")


def _level(share: float) -> Html:
    line = tag("line", x1=LEFT, x2=WIDE - RIGHT, y1=_y(share), y2=_y(share), class_="grid")
    return join(line, _text(f"{100 * share:g} %", LEFT - 8, _y(share) + 4, "end"))


def _radius(value: float, last: float) -> Html:
    line = tag("line", x1=_x(value, last), x2=_x(value, last), y1=_y(0), y2=_y(0) + 5, class_="axis")
    return join(line, _text(f"{value:.3g}", _x(value, last), TALL - BOTTOM + 19))


def _text(words: str, x: float, y: float, anchor: str = "middle") -> Html:
    return tag("text", words, x=round(x, 1), y=round(y, 1), text_anchor=anchor)


def _path(points: list[tuple[float, float]], last: float) -> str:
    return " ".join(f"{_x(radius, last)},{_y(share)}" for radius, share in points)


def _x(radius: float, last: float) -> float:
    return round(LEFT + (WIDE - LEFT - RIGHT) * radius / last, 1)


def _y(share: float) -> float:
    return round(TOP + (TALL - TOP - BOTTOM) * (1 - share), 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
