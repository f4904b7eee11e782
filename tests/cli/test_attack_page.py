"""The report of `robustgames attack`: what the page says against attack.json, closed forms, and a browser."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from in_process import in_an_empty_folder, users_module  # noqa: F401 (a fixture)
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import nn

from robustgames import data
from robustgames.attacks import evaluate, linear_worst_case
from robustgames.attacks.members import MEMBERS
from robustgames.attacks.report import Report, Tally
from robustgames.attacks.saving import to_8_bit
from robustgames.cli import attack_advice, attack_curve, attack_report, main
from robustgames.cli.attack_advice import OTHER, advice_for
from robustgames.cli.attack_curve import curves_of
from robustgames.cli.attack_examples import MOST, examples_of, pictures
from robustgames.cli.attack_page import page_of
from robustgames.cli.markup import VOID
from robustgames.evaluation.under_attack import interval
from robustgames.experiment.classifiers import Classifiers
from robustgames.games.threat import ThreatModel

NETS = """import torch
from torch import nn

def of(count):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(count, 10))

def two():
    net = nn.Linear(64, 10)
    net.weight.data = torch.sin(torch.arange(640.0)).view(10, 64) * (torch.arange(10) < 2).view(10, 1)
    net.bias.data = torch.tensor([0.0, 0.0] + [-1000.0] * 8)  # the others never win
    return net

def trained(count, found, steps):
    net = of(count)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(found.train_images), found.train_labels).backward()
        optimizer.step()
    return net

def digits():
    from robustgames.data import digits
    return trained(64, digits(), 100)

def mnist():
    from robustgames.data import mnist
    return trained(784, mnist(), 20)
"""
HOSTILE = (
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a|b`c*d",
    "$\\frac$",
    "\x1b[31m\x00",
    "x" * 90,
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The elements of a page: tags, attributes, texts, and tables as rows of texts; unbalanced tags are an error."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.texts, self.tables, self.open = Counter(), [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attrs]
        self.open += [] if tag in VOID else [tag]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts += [] if self.open[-1:] == ["style"] else [text]
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += text

    def table(self, *heads):
        """Return the rows of the first table with these first headings, by the cell that names them."""
        found = next(rows for rows in self.tables if rows[0][: len(heads)] == list(heads))
        return {row[0]: row[1:] for row in found[1:]}


my_nets = users_module("my_nets", NETS)


def attacked(words):
    """Attack a network of this file; return (page, content of attack.json)."""
    assert main(["attack", *words.split(), "--out", "out", "--device", "cpu"]) == 0
    return Page(Path("out/report.html").read_text()), json.loads(Path("out/attack.json").read_text())


def hostile(shape=(40, 3, 12, 12), names=HOSTILE, classifiers=1):
    """Return an outcome in which every text of the user is hostile, and its content."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), len(HOSTILE)))
    y, called = net(x).argmax(-1), [f"{HOSTILE[0]} {k}" for k in range(classifiers)]
    subject = Classifiers(HOSTILE[1], dict.fromkeys(called, net), x, y, ThreatModel("linf", 0.1), Path(), names)
    report = evaluate(net, x, y, 0.1, "linf", ("fgsm",))
    quantized = to_8_bit(net, x, report.x_adv, y, 0.1)
    each = [dict.fromkeys(called, one) for one in (report, {}, quantized)]
    outcome = attack_report.Outcome(subject, *each, [f"no gradient: {HOSTILE[0]}"], False, 1.0)
    told = {"command": f"robustgames attack '{HOSTILE[0]}'\n```", "attack": ["fgsm"], "data": HOSTILE[1], "seed": 0}
    settings = {"eot": 1, "batch": 9, "precision": "float32", "curve": True}
    settings |= {"attack_set": [], "certify": [], "transfer": [], "corruptions": []}
    curves = curves_of(subject, outcome.reports, told | settings)
    return outcome, attack_report.content_of(outcome, told | settings, curves)


# -- numbers ----------------------------------------------------------------------------------------------------
def test_the_page_says_what_attack_json_says(capsys):
    page, content = attacked(
        "--model my_nets:digits --data digits --attack fgsm apgd-ce --images 90 --eps 0.05 --seed 3 --certify crown"
    )
    (row,) = content["classifiers"].values()
    percent = [f"{100 * row[key]:.1f} %" for key in ("clean_accuracy", "robust_accuracy")]
    at = [page.texts.index(title) for title in ("Clean accuracy", "Robust accuracy", "Certified by crown")]
    certified = row["certificates"]["crown"]
    for k, value in zip(at, [*percent, f"{100 * certified['certified_accuracy']:.1f} %"], strict=True):
        assert page.texts[k + 1] == value
    for k, ends in zip(at, [row["clean_interval"], row["robust_interval"], certified["interval"]], strict=True):
        assert page.texts[k + 2] == f"95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"
    assert certified["certified_accuracy"] <= row["robust_accuracy"] < row["clean_accuracy"]
    attacks = page.table("attack", "images")
    assert {t["name"]: (str(t["attacked"]), str(t["fooled"])) for t in row["attacks"]} == {
        name: tuple(cells[:2]) for name, cells in attacks.items()
    }
    classes = page.table("class", "images", "clean", "robust")
    assert len(row["classes"]) == len(classes) == 10 and sum(one["images"] for one in row["classes"]) == 90
    for one in row["classes"]:
        shares = (f"{100 * one[key] / one['images']:.1f} %" for key in ("clean", "robust"))
        assert classes[str(one["label"])][:3] == [str(one["images"]), *shares]
    for key in ("clean", "robust"):
        assert sum(one[key] for one in row["classes"]) == round(90 * row[f"{key}_accuracy"])
    square = page.table("", *map(str, range(10)))
    found = {(t, g): n for t, g, n in row["confusion"]}
    assert {(int(t), g): int(n) for t, cells in square.items() for g, n in enumerate(cells) if n} == found
    assert {t: n for (t, g), n in found.items() if t == g} == {
        one["label"]: one["robust"] for one in row["classes"] if one["robust"]
    }
    settings = page.table("setting", "value")
    assert settings["seed"] == ["3"] and settings["torch"] == [torch.__version__] and settings["eps"] == ["0.05"]
    assert content["command"] in page.texts and content["command"].startswith("robustgames attack --model my_nets:")
    assert page.tags["img"] == 3 * min(MOST, row["examples"])
    text = Path("out/report.md").read_text()
    assert f"| my\\_nets:digits | {percent[0]} |" in text
    assert all(part in text for part in (*percent, "## Warnings", content["command"], "| class | images |"))


def exact(x, y, radius):
    """Return the accuracy of `two` under the worst perturbation."""
    net = sys.modules["my_nets"].two()
    worst = linear_worst_case(net.weight, x, y.clamp_max(1), radius, bias=net.bias)
    return float(((net(worst).argmax(-1) == y) & (net(x).argmax(-1) == y)).double().mean())


def test_the_curve_of_a_minimum_norm_attack_is_that_of_a_linear_model(capsys):
    page, content = attacked("--model my_nets:two --data digits --attack fmn --images 400 --eps 0.08")
    (row,) = content["classifiers"].values()
    x, y = (part[:400] for part in data.digits()[2:])
    curve = row["curve"]
    assert (curve["accuracy"][0], curve["accuracy"][-1]) == (row["clean_accuracy"], row["robust_accuracy"])
    law = [exact(x, y, radius) for radius in curve["eps"]]
    assert law[-1] < law[0] - 0.05
    for found, true in zip(curve["accuracy"], law, strict=True):
        assert true - 1e-9 <= found <= true + 1.01 / len(x)  # equal but for an image on the boundary
    numbers = page.table("radius", "accuracy")
    assert numbers["0.08"][0] == f"{100 * curve['accuracy'][-1]:.1f} %"
    assert page.tags["polyline"] == 1 and "fmn" in curve["source"]


def test_the_sweep_of_a_linear_model_is_exact_and_on_request_only(capsys):
    words = "--model my_nets:two --data digits --attack apgd-ce --images 250 --eps 0.04"
    page, content = attacked(words)
    assert next(iter(content["classifiers"].values()))["curve"] is None and page.tags["polyline"] == 0
    page, content = attacked(f"{words} --curve")
    curve = next(iter(content["classifiers"].values()))["curve"]
    x, y = (part[: attack_curve.SUBSET] for part in data.digits()[2:])
    assert curve["images"] == 200 and curve["eps"][-1] == pytest.approx(0.08)
    assert curve["accuracy"] == [exact(x, y, radius) for radius in curve["eps"]]
    assert page.tags["circle"] == len(attack_curve.SWEPT)


def test_no_curve_from_attacks_whose_perturbations_are_not_the_smallest():
    nearest = {name for name in MEMBERS if attack_curve._seeks_the_nearest(name)}
    assert nearest == {"deepfool", "ddn", "fmn", "hop-skip-jump"}


def test_ctrl_c_in_a_sweep_leaves_the_curve_out(monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(attack_curve, "accuracies_at", stop)
    content = hostile()[1]
    assert [row["curve"] for row in content["classifiers"].values()] == [None]


def test_intervals_of_passes_contain_the_choice_of_the_images():
    generator = torch.Generator().manual_seed(0)
    truth, covered = 0.6, 0
    for _ in range(300):  # images are right with probabilities of mean 0.6
        p = 0.2 + 0.8 * torch.rand(80, generator=generator, dtype=torch.float64)
        passes = torch.rand(20, 80, generator=generator, dtype=torch.float64) < p
        low, high = interval(passes.double().mean(0) > 0.5, passes)
        covered += low <= truth <= high
    assert 0.91 <= covered / 300 <= 0.98


@pytest.mark.parametrize("truth", [0.9, 0.98, 1.0])
def test_intervals_of_passes_have_a_width_where_all_passes_agree(truth):
    generator, covered = torch.Generator().manual_seed(0), 0
    for _ in range(400):  # as a deterministic classifier
        passes = (torch.rand(100, generator=generator) < truth).expand(20, 100)
        low, high = interval(passes[0], passes)
        covered += low <= truth <= high
    assert covered / 400 >= 0.93
    low, high = interval(torch.ones(50).bool(), torch.ones(20, 50).bool())
    assert high == 1 and low == pytest.approx(interval(torch.ones(50).bool())[0], abs=0.03)  # 0.93; it was 1
    assert interval(torch.zeros(50).bool(), torch.zeros(20, 50).bool()) == pytest.approx((0.0, 1 - low))


def test_the_curve_from_sizes_ends_at_the_robust_accuracy_in_spite_of_rounding():
    eps, x = 1e-4, torch.linspace(0.5, 0.99, 50).view(-1, 1, 1, 1).expand(-1, 1, 7, 7).clone()
    x_adv, all_ = x + eps, torch.ones(50).bool()
    assert ((x_adv.double() - x.double()).abs().amax((1, 2, 3)) > eps * (1 + 1e-5)).any()
    subject = Classifiers("s", {}, x, torch.zeros(50).long(), ThreatModel("linf", eps), Path())
    found = attack_curve._from_sizes(subject, Report(x_adv, all_, ~all_, (Tally("fmn"),)))
    assert (found["accuracy"][0], found["accuracy"][-1]) == (1, 0)  # it was 0.3 and more


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-float("inf"), float("inf"))])
def test_pictures_are_drawn_from_the_least_to_the_largest_value(bounds):
    low, high = bounds if bounds[1] < 1000 else (-2.0, 3.0)
    x = low + (high - low) * torch.linspace(0, 1, 16).view(1, 1, 4, 4).expand(2, 1, 4, 4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    subject = Classifiers("s", {"n": net}, x, torch.zeros(2).long(), ThreatModel("linf", 0.0, *bounds), Path())
    yes = torch.ones(2).bool()
    (one, _) = examples_of(subject, {"n": Report(x.flip(-1), yes, ~yes, ())}, {"n": yes.long()})["n"]
    assert one.clean.flatten().tolist() == [17 * k for k in range(16)]
    assert one.attacked[0].tolist() == [51, 34, 17, 0]


# -- texts ------------------------------------------------------------------------------------------------------
def test_no_text_of_the_user_becomes_markup():
    outcome, content = hostile()
    examples = examples_of(outcome.subject, outcome.reports, outcome.predictions)
    source = page_of(content, examples, [f"contradiction {HOSTILE[1]}"])
    page = Page(source)
    assert "script" not in page.tags and not any(name.startswith("on") for _, name, _ in page.attributes)
    assert page.tags["style"] == 1 and page.tags["img"] == 3 * sum(map(len, examples.values())) > 0
    shown = "\n".join(page.texts)
    for name in (HOSTILE[0], HOSTILE[1], *HOSTILE[2:4]):
        assert name in shown
    assert "\x1b" not in source and "\x00" not in source and "\\x1b[31m\\x00" in shown
    assert shown.count("contradiction") == 1 and "Do not use these figures" in shown


def test_markdown_escapes_as_well():
    outcome, content = hostile()
    attack_report.write(Path("out"), outcome, content)
    text = Path("out/report.md").read_text()
    fenced = re.search(r"````sh\n.*?\n````", text, re.S)  # a longer fence than the one in the command
    outside = text.replace(fenced[0], "")
    assert "<" not in outside and "a\\|b\\`c\\*d" in outside and "\x1b" not in text


def test_nothing_comes_from_elsewhere(capsys):
    attacked("--model my_nets:digits --data digits --attack fgsm --images 60 --curve")
    source = Path("out/report.html").read_text()
    page = Page(source)
    for tag, name, value in page.attributes:
        if name in ("src", "srcset", "href", "data", "action", "poster"):
            assert value.startswith("data:image/png;base64," if tag == "img" else "#"), (tag, name, value[:40])
        assert "url(" not in (value or "")
    assert not {"link", "script", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", source)
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for tag, name, value in page.attributes if name == "href"} <= ids
    assert all(value for tag, name, value in page.attributes if name == "alt")
    assert page.tags["img"] == sum(name == "alt" for _, name, _ in page.attributes)


def test_the_page_of_100_mnist_images_is_small(capsys):
    page, _ = attacked("--model my_nets:mnist --data mnist --attack fgsm --images 100")
    assert page.tags["img"] == 30 and Path("out/report.html").stat().st_size < 300_000


def test_large_color_images_are_shrunk_and_other_inputs_not_drawn():
    outcome, content = hostile((12, 3, 300, 200))
    page = page_of(content, examples_of(outcome.subject, outcome.reports, outcome.predictions))
    assert Page(page).tags["img"] > 0 and len(page) < 3_000_000
    assert pictures(torch.rand(3, 7)) is None and pictures(torch.rand(3, 64)).shape == (3, 8, 8)
    assert pictures(torch.rand(2, 3, 5, 4)).shape == (2, 5, 4, 3) and pictures(torch.rand(2, 2, 5, 4)) is None
    outcome, content = hostile((12, 7))
    page = Page(page_of(content, examples_of(outcome.subject, outcome.reports, outcome.predictions)))
    assert page.tags["img"] == 0 and any("not images that can be drawn" in text for text in page.texts)


def test_several_classifiers_have_a_section_each():
    outcome, content = hostile(classifiers=3)
    page = Page(page_of(content, examples_of(outcome.subject, outcome.reports, outcome.predictions)))
    called = list(content["classifiers"])
    assert [text for text in page.texts if text in called][:3] == called  # the contents come first
    assert len(page.table("classifier", "clean")) == 3
    assert sum(rows[0][0] == "attack" for rows in page.tables) == page.tags["svg"] - 1 == 3


# -- warnings ---------------------------------------------------------------------------------------------------
def test_every_warning_of_an_attack_has_its_own_advice():
    """The literal texts of all notes in the package, as their sources spell them."""
    folder = Path(attack_advice.__file__).parents[1]
    sources = [folder / "attacks" / f"{name}.py" for name in ("checks", "masking", "ensemble", "inputs", "victim")]
    sources += [folder / "cli/attack.py", folder / "experiment/classifiers.py"]
    sources += [folder / "experiment/any_classifier.py", folder / "data/classified.py", folder / "cli/attack_run.py"]
    notes = []
    for path in sources:
        for call in re.findall(r'(?:warnings\.warn\(\s*|return \[\s*|note = )((?:f?"[^"\n]*"\s*)+)', path.read_text()):
            notes.append("".join(re.findall(r'"([^"\n]*)"', call)))
    assert len(notes) >= 12
    assert [note for note in notes if " " in note and advice_for(note) is OTHER] == []


# -- TensorBoard ------------------------------------------------------------------------------------------------
def figures():
    events = EventFileLoader("out/events.out.tfevents.attack").Load()
    return [value.tag for event in events for value in event.summary.value]


def test_tensorboard_has_the_figures_of_the_last_attack(capsys):
    words = "--model my_nets:digits --data digits --attack fgsm --images 60"
    attacked(f"{words} --curve")
    common = ["figures/classes", "figures/confusion under attack", "figures/examples"]
    assert figures() == ["figures/accuracy against eps", *common]
    attacked(words)
    assert figures() == common
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        [*attack_report.FILES, "events.out.tfevents.attack"]
    )


# -- a browser --------------------------------------------------------------------------------------------------
def browse(page, *options):
    """Return (title, messages of the console) of a page in a headless browser."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    run = subprocess.run([*command, page.resolve().as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", run.stdout, re.S)
    return title and html.unescape(title[1]), [line for line in run.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [320, 400, 1200])
def test_a_browser_shows_it_without_complaints_and_nothing_is_too_wide(width, tmp_path):
    outcome, content = hostile(classifiers=2)
    examples = examples_of(outcome.subject, outcome.reports, outcome.predictions)
    page = tmp_path / "report.html"
    page.write_text(page_of(content, examples, ["x" * 200]))
    title, messages = browse(page, "--dump-dom")
    assert messages == [] and title == f"{HOSTILE[1]} under attack"
    frame = (
        f'<title></title><iframe id="f" width="{width}" height="900" srcdoc="{html.escape(page.read_text())}"></iframe>'
    )
    script = """<script>onload = () => {
        const page = document.getElementById("f").contentDocument, end = page.documentElement.clientWidth;
        const inside = (e) => e.closest(".scroll") && !e.matches(".scroll");
        const wide = [...page.querySelectorAll("body *")].filter(
            (e) => !inside(e) && e.getBoundingClientRect().right > end + 1);
        const names = wide.map((e) => e.className || e.tagName);
        document.title = [page.documentElement.scrollWidth, end, ...names].join(" ");
    }</script>"""
    outer = tmp_path / "frame.html"
    outer.write_text(f"<!DOCTYPE html>{frame}{script}")
    found = browse(outer, "--dump-dom", "--virtual-time-budget=3000", "--window-size=1400,1000")[0]
    assert found.split() == [found.split()[0]] * 2 and int(found.split()[0]) <= width
