"""The tables of the report of `robustgames attack`, as words, from the content of attack.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from robustgames.experiment.folder import Content

NORMS = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1", "l0": "ℓ0"}
LISTED = 30  # classes and mistakes that are listed
SETTINGS = (
    *("attack", "attack_set", "norm", "eps", "images", "data", "seed", "eot", "batch", "precision", "device"),
    *("certify", "transfer", "corruptions"),
)


class Rows(NamedTuple):
    """A table: headings, and rows whose first cell is their name."""

    heads: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def share(value: float) -> str:
    """Return a share in per cent; NaN as a dash."""
    return f"{100 * value:.1f} %" if value == value else "–"


def ends(interval: Sequence[float]) -> str:
    """Return a 95 % interval in per cent."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def threat_of(content: Content) -> str:
    """Return the ball of the attack in words."""
    if content["norm"] == "l0":
        return f"ℓ0 perturbations of at most {content['eps']:g} coordinates"
    return f"{NORMS[content['norm']]} perturbations of size at most {content['eps']:g}"


def counts_of(row: Content) -> dict[str, int]:
    """Return the numbers of images of a classifier: robust, fooled, wrong without an attack, and all."""
    images, clean, robust = (sum(one[key] for one in row["classes"]) for key in ("images", "clean", "robust"))
    return {"robust": robust, "fooled": clean - robust, "wrong": images - clean, "images": images}


def in_8_bits(rows: Sequence[Content]) -> int | None:
    """Return the number of fooled images that are fooled in 8 bits too; None if the inputs have no levels."""
    if any(row["lost_in_8_bits"] is None for row in rows):
        return None
    return sum(row["examples"] - row["lost_in_8_bits"] for row in rows)


def classifiers(content: Content) -> Rows:
    """Return one row per classifier: accuracies with their intervals."""
    rows = [
        (
            name,
            *(share(row["clean_accuracy"]), ends(row["clean_interval"])),
            *(share(row["robust_accuracy"]), ends(row["robust_interval"])),
            f"{row['examples']:,}",
        )
        for name, row in content["classifiers"].items()
    ]
    heads = ("classifier", "clean", "95 % interval", "robust", "95 % interval", "fooled")
    return Rows(heads, rows)


def attacks(row: Content) -> Rows:
    """Return one row per attack: images attacked and fooled, and cost per image attacked."""
    rows = []
    for one in row["attacks"]:
        success = share(one["fooled"] / one["attacked"]) if one["attacked"] else "–"
        counts = (f"{one['attacked']:,}", f"{one['fooled']:,}", success)
        rows.append((one["name"], *counts, f"{one['forwards']:,.1f}", f"{one['backwards']:,.1f}", _seconds(one)))
    heads = ("attack", "images", "fooled", "success", "forwards", "backwards", "seconds")
    return Rows(heads, rows)


def classes(row: Content, names: list[str]) -> Rows:
    """Return one row per class: images, clean and robust accuracy; of many classes those of least robust accuracy."""
    chosen = row["classes"]
    if len(chosen) > LISTED:
        chosen = sorted(chosen, key=lambda one: one["robust"] / one["images"])[:LISTED]
    rows = [
        (names[one["label"]], f"{one['images']:,}", *(share(one[key] / one["images"]) for key in ("clean", "robust")))
        for one in chosen
    ]
    return Rows(("class", "images", "clean", "robust"), rows)


def mistakes(row: Content, names: list[str], most: int = LISTED) -> Rows:
    """Return the most frequent pairs of true and predicted class under attack."""
    found = [(names[true], names[guess], f"{count:,}") for true, guess, count in row["confusion"] if true != guess]
    return Rows(("true class", "predicted", "images"), found[:most])


def certificates(row: Content) -> Rows:
    """Return one row per certificate: the share certified with its interval, and the counts."""
    rows = []
    for name, one in row["certificates"].items():
        about = "the smoothed classifier" if one["of_smoothed"] else "this classifier"
        values = (share(one["certified_accuracy"]), ends(one["interval"]))
        counts = [f"{one[key]:,}" for key in ("certified", "falsified", "unknown")]
        counts[-1] += f" ({one['unreached']:,} not reached before Ctrl-C)" if one["unreached"] else ""
        rows.append((name, *values, *counts, about, _seconds(one)))
    heads = ("certificate", "accuracy", "95 % interval", "certified", "falsified", "unknown", "of", "seconds")
    return Rows(heads, rows)


def curve(row: Content) -> Rows:
    """Return one row per radius of the curve, of a fine one every fifth."""
    one = row["curve"]
    every = 1 if len(one["eps"]) <= 10 else 5
    rows = [
        (f"{radius:.4g}", share(accuracy), ends(interval))
        for radius, accuracy, interval in list(zip(one["eps"], one["accuracy"], one["intervals"], strict=True))[::every]
    ]
    return Rows(("radius", "accuracy", "95 % interval"), rows)


def transfers_table(found: Content) -> Rows:
    """Return one row per network against which the inputs were perturbed: the accuracies of all networks on them."""
    rows = [("none (clean)", *map(share, found["clean"]))]
    rows += [(name, *map(share, row)) for name, row in zip(found["models"], found["accuracy"], strict=True)]
    return Rows(("perturbed against", *found["models"]), rows)


def transfers_note(found: Content) -> str:
    """Return what the table of transfers shows."""
    return (
        f"Accuracy of each column on {found['images']:,} inputs that were perturbed against the row by "
        f"{found['attack']}, whatever the row predicts. A column that is less robust off the diagonal than on it masks "
        "its gradients."
    )


def corruptions_table(found: Content) -> Rows:
    """Return one row per kind: the accuracies at severities 1 to 5, and their mean."""
    rows = [(kind, *map(share, row), share(sum(row) / len(row))) for kind, row in found["accuracy"].items()]
    return Rows(("severity", *map(str, range(1, 6)), "mean"), rows)


def corruption_error(found: Content) -> str:
    """Return the mean corruption error in words."""
    error = f"mean corruption error {share(found['mean_error'])} (1 - accuracy, over kinds and severities)"
    return f"{error}, without corruption {share(1 - found['clean'])}, on {found['images']:,} images"


def settings(content: Content) -> Rows:
    """Return the settings and versions that the figures depend on."""
    chosen = {key: content[key] for key in SETTINGS if content[key] not in (None, [], ())}
    words = {key: " ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for key, v in chosen.items()}
    rows = [*words.items(), *content["versions"].items(), ("seconds in all", f"{content['seconds']:,.1f}")]
    return Rows(("setting", "value"), rows)


def _seconds(row: Content) -> str:
    return f"{row['seconds']:,.1f}"
