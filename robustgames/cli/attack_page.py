"""The report of `robustgames attack` as one HTML page without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from robustgames.cli import attack_rows as tables
from robustgames.cli.attack_advice import CONTRADICTED, UNFINISHED, Advice, advice_for
from robustgames.cli.attack_examples import Example, data_uri
from robustgames.cli.attack_markdown import markdown_of
from robustgames.cli.attack_plot import curve_plot
from robustgames.cli.attack_rows import NORMS, counts_of, ends, share, threat_of
from robustgames.cli.markup import Html, Part, document, join, table, tag
from robustgames.disk import write_whole
from robustgames.errors import writing
from robustgames.experiment.folder import Content
from robustgames.figures.logo import logo

SQUARE = 20  # classes up to which confusions are a square table
Examples = Mapping[str, Sequence[Example]]


def write_page(folder: Path, content: Content, examples: Examples, faults: Sequence[str] = ()) -> None:
    """Write report.html and report.md from the content of attack.json and a few examples of each classifier.

    Args:
        folder: Folder of the attack.
        content: Content of attack.json.
        examples: Fooled images, {classifier: examples}.
        faults: Contradictions between certificates and attacks.
    """
    with writing(folder):
        write_whole(folder / "report.html", page_of(content, examples, faults).encode())
        write_whole(folder / "report.md", markdown_of(content, faults).encode())


def page_of(content: Content, examples: Examples, faults: Sequence[str] = ()) -> Html:
    """Return the page, see `write_page`."""
    rows = content["classifiers"]
    parts = {"Result": _result(content), "Warnings": _warnings(content, faults)}
    several = len(rows) > 1
    if content["transfers"] is not None:
        found = content["transfers"]
        parts["Transfer"] = table(*tables.transfers_table(found), tables.transfers_note(found))
    for name, row in rows.items():
        sections = _sections(content, row, examples[name])
        if several:
            parts[name] = join(
                _own(row), _shares(counts_of(row)), [join(tag("h3", head), one) for head, one in sections.items()]
            )
        else:
            parts |= sections
    parts["Repeat it"] = _repeat(content)
    ids = {head: f"part-{at}" for at, head in enumerate(parts)}
    links = [tag("li", tag("a", head, href=f"#{id_}")) for head, id_ in ids.items()]
    home = tag("div", Html(logo()), "robustgames", class_="home")
    nav = tag("nav", tag("div", home, tag("ul", links)), aria_label="Contents")
    body = [tag("section", tag("h2", head), part, id=ids[head]) for head, part in parts.items()]
    lead = f"{threat_of(content)[:1].upper()}{threat_of(content)[1:]}, {content['images']:,} images, "
    lead += f"{' '.join(content['attack'])}, seed {content['seed']}."
    top = join(tag("h1", f"{content['subject']} under attack"), tag("p", lead, class_="lead"))
    version = content["versions"]["robustgames"]
    footer = tag("footer", f"Written by robustgames {version}. The numbers are in attack.json.")
    return document(f"{content['subject']} under attack", nav, tag("main", top, body, footer))


# -- the result ----------------------------------------------------------------------------------------------------
def _result(content: Content) -> Html:
    rows = list(content["classifiers"].values())
    cards = [
        _accuracy(title, content[f"{key}_accuracy"], [row[f"{key}_interval"] for row in rows], about, key)
        for key, title, about in (
            ("clean", "Clean accuracy", "without an attack"),
            ("robust", "Robust accuracy", "correct under every attack tried: an upper bound"),
        )
    ]
    for method in rows[0]["certificates"]:
        each = [row["certificates"][method] for row in rows if method in row["certificates"]]
        about = "correct, whatever the attack: a lower bound"
        if each[0]["of_smoothed"]:
            about = "of the smoothed classifier, which is another one"
        summary, intervals = content[f"certified_{method}"], [one["interval"] for one in each]
        cards.append(_accuracy(f"Certified by {method}", summary, intervals, about, "certified"))
    fooled, whole = sum(row["examples"] for row in rows), tables.in_8_bits(rows)
    kept = () if whole is None else (f"{whole:,} of them also as 8-bit images in the ball",)
    cards.append(_card("Images fooled", tag("p", f"{fooled:,}", class_="value"), kept, "fooled"))
    every = [counts_of(row) for row in rows]
    together = {key: sum(counts[key] for counts in every) for key in every[0]}
    parts: list[Part] = [tag("div", cards, class_="cards"), _shares(together)]
    if len(rows) > 1:
        heads, lines = tables.classifiers(content)
        parts.append(table(heads, lines, "Each classifier alone. Intervals are over the choice of the images."))
    return join(parts)


def _own(row: Content) -> Html:
    """Return the accuracies of one of several classifiers in a sentence."""
    clean, robust = (f"{share(row[f'{key}_accuracy'])} ({ends(row[f'{key}_interval'])})" for key in ("clean", "robust"))
    return tag("p", f"Clean accuracy {clean}, robust accuracy {robust}, with 95 % intervals.")


def _accuracy(title: str, summary: Content, intervals: Sequence[Sequence[float]], about: str, kind: str) -> Html:
    value = tag("p", share(summary["mean"]), class_="value")
    within = f"95 % interval {ends(intervals[0])}"
    if len(intervals) > 1:
        value = tag("p", f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f} %", class_="value small")
        within = f"mean ± std over {len(intervals)} runs"
    return _card(title, value, (within, about), kind)


def _card(title: str, value: Html, notes: Sequence[str], kind: str) -> Html:
    return tag("div", tag("p", title), value, [tag("p", note, class_="note") for note in notes], class_=f"card {kind}")


def _shares(counts: Mapping[str, int]) -> Html:
    """Return one bar for all images, and its legend."""
    words = {"robust": "robust", "fooled": "fooled by an attack", "wrong": "misclassified without an attack"}
    texts = {key: f"{counts[key]:,} {text}" for key, text in words.items()}
    spans = [tag("span", class_=f"is-{key}", style=f"flex: {counts[key]}") for key in words if counts[key]]
    label = f"Of {counts['images']:,} images: {', '.join(texts.values())}"
    return join(tag("div", spans, class_="shares", role="img", aria_label=label), _legend(texts))


def _legend(texts: Mapping[str, str]) -> Html:
    keys = [tag("span", tag("span", class_=f"key is-{kind}"), text) for kind, text in texts.items()]
    return tag("div", keys, class_="legend")


def _warnings(content: Content, faults: Sequence[str]) -> Html:
    found = [_callout(fault, CONTRADICTED, "fault") for fault in faults]
    left = sum(row["unfinished"] for row in content["classifiers"].values())
    if left or content["interrupted"]:
        text = f"{left:,} images count as robust, though not every attack was tried on them"
        found.append(_callout(text if left else "the attack was interrupted", UNFINISHED))
    found += [_callout(note, advice_for(note)) for note in content["warnings"]]
    if found:
        return join(found)
    text = (
        "There were none: the self-checks found no sign that gradients are masked. This does not prove robustness. The "
        "robust accuracy is an upper bound, and a stronger attack can only lower it."
    )
    return tag("div", tag("p", text), class_="calm")


def _callout(message: str, advice: Advice, kind: str = "warning") -> Html:
    parts = (tag("strong", message), advice.meaning, [tag("em", "What to do: "), advice.to_do])
    return tag("div", [tag("p", part) for part in parts], class_=kind)


# -- one classifier ------------------------------------------------------------------------------------------------
def _sections(content: Content, row: Content, examples: Sequence[Example]) -> dict[str, Html]:
    """Return the sections of a classifier by their headings."""
    names = content["class_names"]
    return {
        "Attacks": _attacks(row),
        **({"Certificates": _certificates(row)} if row["certificates"] else {}),
        **({"Corruptions": _corruptions(row["corruptions"])} if row["corruptions"] else {}),
        "Accuracy against eps": _curve(content, row),
        "Classes": _classes(row, names),
        "Confusion under attack": _confusion(row, names),
        "Examples": _examples(examples, names, NORMS[content["norm"]]),
    }


def _attacks(row: Content) -> Html:
    note = "Each attack ran on the images that were still robust. Passes are per attacked image."
    if row["eot"] > 1:
        note = f"The classifier is judged by means over {row['eot']} passes. Passes are per attacked image."
    return table(*tables.attacks(row), note)


def _certificates(row: Content) -> Html:
    note = (
        "A certified image has no misclassified input in its ball, whatever the attack. The true robust accuracy lies "
        "between the certified accuracy of this classifier and the robust accuracy above."
    )
    return table(*tables.certificates(row), note)


def _corruptions(found: Content) -> Html:
    error = tables.corruption_error(found)
    return table(*tables.corruptions_table(found), f"{error[:1].upper()}{error[1:]}.")


def _curve(content: Content, row: Content) -> Html:
    curve = row["curve"]
    if curve is None:
        text = (
            "Not computed. A minimum-norm attack in the first place, --attack fmn, gives the curve up to eps, and "
            "--curve a sweep of a cheap attack."
        )
        return tag("p", text, class_="note")
    text = f"Accuracy with its 95 % interval over {curve['images']:,} images, from {curve['source']}: an upper bound."
    plot = curve_plot(curve, content["eps"], NORMS[content["norm"]])
    return join(
        tag("figure", plot, tag("figcaption", text)),
        tag("details", tag("summary", "Numbers"), table(*tables.curve(row))),
    )


def _classes(row: Content, names: list[str]) -> Html:
    heads, lines = tables.classes(row, names)
    note = f"The {len(lines)} classes of least robust accuracy." if len(lines) < len(row["classes"]) else ""
    drawn = [(name, images, clean, robust, _bar(clean, robust)) for name, images, clean, robust in lines]
    return table((*heads, _legend({"robust": "robust", "clean": "fooled"})), drawn, note, class_="wide")


def _bar(clean: str, robust: str) -> Html:
    shares = {"is-clean": clean, "is-robust": robust}
    parts = [tag("span", class_=kind, style=f"width: {text.replace(' ', '')}") for kind, text in shares.items()]
    return tag("div", parts, class_="bar", role="img", aria_label=f"clean {clean}, robust {robust}")


def _confusion(row: Content, names: list[str]) -> Html:
    if len(names) > SQUARE:
        return table(*tables.mistakes(row, names), "The most frequent mistakes.")
    counts = {(true, guess): count for true, guess, count in row["confusion"]}
    totals = {one["label"]: one["images"] for one in row["classes"]}
    heads = [tag("span", name, class_="upright" if max(map(len, names)) > 3 else None) for name in names]
    lines = []
    for true in totals:
        cells = []
        for guess in range(len(names)):
            count = counts.get((true, guess), 0)
            kind, part = "same" if true == guess else "other", round(70 * count / totals[true])
            about = f"{names[true]} classified as {names[guess]}: {count:,} of {totals[true]:,}"
            cells.append(tag("td", count or "", class_=kind, style=f"--part: {part}%", title=about))
        lines.append(tag("tr", tag("th", names[true], scope="row"), cells))
    note = "Rows are the true classes, columns the classes predicted for the images after the attacks."
    head = tag("tr", tag("td"), [tag("th", part, scope="col") for part in heads])
    whole = tag("table", tag("thead", head), tag("tbody", lines), class_="confusion")
    return join(tag("p", note, class_="note"), tag("div", whole, class_="scroll"))


def _examples(examples: Sequence[Example], names: list[str], norm: str) -> Html:
    if not examples:
        return tag("p", "No image is fooled, or the inputs are not images that can be drawn.", class_="note")
    shown = []
    for one in examples:
        true, guess = names[one.label], names[one.predicted]
        size = f"{one.size:.3g}"
        texts = (
            (one.clean, tag("span", true, class_="right"), f"Image {one.index}, {true}"),
            (one.change, f"{norm} {size}", f"Perturbation of {norm} size {size}"),
            (one.attacked, tag("span", guess, class_="wrong"), f"Perturbed image {one.index}, classified as {guess}"),
        )
        row = [tag("div", tag("img", src=data_uri(image), alt=alt), tag("p", text)) for image, text, alt in texts]
        shown.append(tag("figure", tag("div", row, class_="row"), class_="example"))
    note = (
        "Original with its true class, perturbation with its size, and perturbed image with the predicted class. "
        "Perturbations are drawn from blue (darker) over white to red (brighter), those of color images around gray, "
        "each on its own scale. All examples are in examples.safetensors."
    )
    return join(tag("p", note, class_="note"), tag("div", shown, class_="examples"))


def _repeat(content: Content) -> Html:
    return join(tag("pre", tag("code", content["command"])), table(*tables.settings(content), class_="text"))
