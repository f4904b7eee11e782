"""A run as a folder to publish: files that hold no code, and a model card that says what was trained and measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from robustgames.checkpoints import CURRENT
from robustgames.disk import check_plain, typed
from robustgames.errors import GameError
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.rounding import cell
from robustgames.experiment.driver import read
from robustgames.experiment.folder import CONFIG, check_files, read_end
from robustgames.experiment.kept_files import kept_in
from robustgames.experiment.naming import command, short_env

FILES = (CONFIG, CURRENT, "result.json", "evaluation.json")
CARD = "README.md"
"""Name that the card has to have."""


def publishable(run: Path) -> dict[str, Path]:
    """Return {name in the publication: file} of a run, which hold no code.

    They are its config, its checkpoint, the weights in which it started (if it did), its results and its figures.

    Raises:
        GameError: The folder is not that of a finished run.
    """
    check_files(run)
    if read_end(run) is None:
        raise GameError(f"{run} has no result: finish the run first, robustgames train --resume {typed(run)}")
    figures = sorted((run / "figures").glob("*.png"))
    files = {name: run / name for name in FILES if (run / name).is_file()}
    files |= {path.name: path for path in kept_in(run)}
    return files | {f"figures/{path.name}": path for path in figures}


def model_card(run: Path, name: str, trust: bool = False) -> str:
    """Return the card of a run in Markdown, behind the metadata that a hub of models reads.

    Args:
        run: Folder of a finished run.
        name: Name of the publication, owner/name.
        trust: See `read`.

    Raises:
        GameError: See `read`.
    """
    experiment, result = read(run, trust), read_end(run)
    assert result is not None
    tags = ["robustgames", "min-max", "two-player-games", experiment.agent]
    head = yaml.safe_dump({"library_name": "robustgames", "tags": tags}, sort_keys=False)
    columns = (result["start"], result["metrics"])
    rows = [
        [metric_of(key).label, *(cell(metric_of(key), column.get(key), result["runs"]) for column in columns)]
        for key in result["metrics"]
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    spread = f", mean ± standard deviation over {result['runs']} runs" if result["runs"] > 1 else ""
    figures = [f"![{path.stem}](figures/{path.name})" for path in sorted((run / "figures").glob("*.png"))]
    diverged = f"\n{result['diverged']} of {result['runs']} runs diverged.\n" if result["diverged"] else ""
    folder = name.rpartition("/")[2]
    return (
        f"""---
{head}---

# {experiment.agent} on {short_env(experiment.env)}

{result["timesteps"]:,} {result.get("timestep", "oracle call")}s of every run{spread}.
{diverged}
| | start | end |
|---|---|---|
{table}

## Use

The files hold tensors and text, and no code.

```sh
pip install robustgames
hf download {name} --local-dir {folder}
robustgames evaluate {folder}
```

## Repeat

```sh
{command(experiment)}
```

{chr(10).join(figures)}
""".rstrip()
        + "\n"
    )


def write_publication(run: Path, name: str, folder: Path, trust: bool = False) -> list[str]:
    """Copy what is to be published of a run into an empty folder, with its card; return the names of the files."""
    files = publishable(run)
    card = model_card(run, name, trust)
    for target, source in files.items():
        check_plain(source)
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
    (folder / CARD).write_text(card, encoding="utf-8")
    return [CARD, *files]
