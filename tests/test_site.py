"""The site: pages keep their form, every public name has its place, and no slide is left out."""

import ast
import re
import sys
from pathlib import Path

import pytest
from test_docs import ENGLISH

ROOT = Path(__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
LECTURE, HOWTO = (sorted((EXAMPLES / part).glob("plot_*.py")) for part in ("lecture", "howto"))
LENGTHS = {"lecture": 60, "howto": 90}

sys.path.append(str(DOCS / "_extensions"))


def named(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("page", [*LECTURE, *HOWTO], ids=named)
def test_a_page_is_short_and_asserts_something(page):
    text = page.read_text()
    lines = text.rstrip("\n").split("\n")
    assert len(lines) <= LENGTHS[page.parent.name]
    assert [line for line in lines if len(line) > 100] == []
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text))), "a page asserts its claim"


@pytest.mark.parametrize("page", [*LECTURE, *HOWTO], ids=named)
def test_a_page_begins_with_a_title(page):
    title, underline = ast.get_docstring(ast.parse(page.read_text())).split("\n")[:2]
    assert re.fullmatch("=+", underline) and len(underline) >= len(title)


@pytest.mark.parametrize("wanted", [wanted for wanted in ENGLISH if "noun" not in wanted])  # those are of docstrings
def test_english_of_the_pages(wanted):
    pages = [*LECTURE, *HOWTO, *EXAMPLES.glob("*/*.rst"), *DOCS.glob("reference/*.rst")]
    hits = [(path.name, m[0]) for path in pages for m in re.finditer(ENGLISH[wanted], path.read_text(), re.M)]
    assert hits == []


@pytest.mark.parametrize("page", LECTURE, ids=named)
def test_a_page_of_the_lecture_names_its_slide(page):
    number = int(re.match(r"plot_(\d\d)_", page.name)[1])
    said = ast.get_docstring(ast.parse(page.read_text()))
    slides = re.search(r"^\*Slides?: ((?:.|\n)+?)\*", said, flags=re.M)
    assert slides, 'the second line is *Slide: "TITLE" (NN)*'
    assert re.search(rf"\((?:\d+[-–, ]+)*0?{number}\b", slides[1]), f"no slide of this page has the number {number}"


@pytest.mark.parametrize("page", LECTURE, ids=named)
def test_no_page_is_missing_from_the_map_of_the_lecture(page):
    assert f"lecture/{page.stem}" in (DOCS / "lecture_map.md").read_text()


def test_the_map_of_the_lecture_names_what_exists():
    text = (DOCS / "lecture_map.md").read_text()
    for page in re.findall(r"\]\((lecture/plot_\w+)\.rst\)", text):
        assert (EXAMPLES / f"{page}.py").exists(), page
    for file, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (ROOT / file).exists(), file
        assert f"def {test}" in (ROOT / file).read_text(), f"{file}::{test}"


def test_every_public_name_has_one_place_in_the_reference():
    from public_api import documented

    pages = [path.read_text() for path in (DOCS / "reference").glob("*.rst")]
    listed = re.findall(r"^   ~(robustgames\.[\w.]+)$", "\n".join(pages), flags=re.M)
    assert sorted(listed) == sorted(documented())


def test_the_example_of_the_front_page_prints_what_it_shows(capsys):
    text = (DOCS / "index.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.S).groups()
    exec(compile(code, "index.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_every_page_is_in_a_table_of_contents():
    contents = (DOCS / "explain" / "index.md").read_text()
    pages = {path.stem for path in (DOCS / "explain").glob("*.md")} - {"index"}
    assert pages == set(re.search(r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)\n```", contents, flags=re.S)[1].split())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("shape (*S, n) of |y|²", r"shape (\*S, n) of \|y\|²"),
        ("a step_ of x_i", r"a step\_ of x_i"),
        ("`lr` and `no name`", "``lr`` and ``no name``"),
        ("see `Forsaken`", "see :py:obj:`Forsaken <robustgames.games.Forsaken>`"),
        ("* a |b|", r"* a \|b\|"),
        ("stable but *not* a point of (*S, n), (*S, m)", r"stable but *not* a point of (\*S, n), (\*S, m)"),
        ("2 * x * y", r"2 \* x \* y"),
    ],
)
def test_docstrings_become_markup(written, expected):
    from house_docstrings import plain

    assert plain(written) == expected


def test_docstrings_of_attributes_are_not_split_at_a_colon():
    from house_docstrings import restore, rewrite

    lines = ["(n, m): the dimensions of x and y."]
    rewrite(None, "attribute", "robustgames.Game.sizes", None, None, lines)
    assert ":" not in lines[0]
    restore(None, "attribute", "robustgames.Game.sizes", None, None, lines)
    assert lines == ["(n, m): the dimensions of x and y."]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("robustgames.games.game.Game", "robustgames.Game"),
        ("robustgames.games.Forsaken.solution", "robustgames.games.Forsaken.solution"),
        ("robustgames.games.LinearAttack.draw", "robustgames.games.ClassifierAttack.draw"),
        ("robustgames.diagnostics.residual", "robustgames.solvers.diagnostics.residual"),
        ("robustgames.games.NoSuchName", None),
    ],
)
def test_references_find_a_public_name_by_any_path(target, expected):
    from public_api import full_name

    assert full_name(target) == expected
