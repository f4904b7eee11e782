"""The logo: two spirals, one for each player, that end in the saddle."""

from __future__ import annotations

import numpy as np

from robustgames.figures.style import PALETTE


def logo() -> str:
    """Return the logo as SVG."""
    turns = np.linspace(0, 3.4 * np.pi, 120)
    radius = 46 * np.exp(-turns / 4.4)
    x, y = radius * np.cos(turns), radius * np.sin(turns)
    arms = [
        f'<path d="M{" L".join(f"{50 + s * a:.1f},{50 + s * b:.1f}" for a, b in zip(x, y, strict=True))}" '
        f'fill="none" stroke="{color}" stroke-width="7" stroke-linecap="round"/>'
        for s, color in ((1, PALETTE[0]), (-1, PALETTE[1]))
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{"".join(arms)}</svg>\n'
