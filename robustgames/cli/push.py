"""The command `robustgames push`: publish a run on the Hugging Face Hub."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from robustgames.cli import flags
from robustgames.cli.screen import plain
from robustgames.errors import GameError, shorten

PROGRAM = "robustgames push"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class PushOptions:
    """Publish a finished run on the Hugging Face Hub: config, checkpoint, results, figures and a model card.

    Nothing that is published holds code. Log in first: hf auth login.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Name of the repository, which is made if it does not exist."""
    private: bool = False
    """Make the repository private."""
    dry_run: bool = False
    """Only print the files and the card."""
    trust: bool = False
    """Import code that the config of the run names, which can run anything."""


def push(words: list[str]) -> None:
    """Publish a run, or print what would be published."""
    from robustgames.experiment.publishing import CARD, write_publication

    options = flags.read(PushOptions, PROGRAM, words)
    if not NAME.fullmatch(options.name):
        raise GameError(f"{shorten(options.name)!r} is not owner/name: e.g. {PROGRAM} {options.run} me/my-robust-agent")
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = write_publication(options.run, options.name, folder, options.trust)
        sizes = {name: (folder / name).stat().st_size for name in names}
        for name, size in sizes.items():
            console.print(f"{size:>12,} bytes  {plain(name)}", soft_wrap=True)
        if options.dry_run:
            console.print((folder / CARD).read_text(encoding="utf-8"), markup=False, soft_wrap=True)
            return
        console.print(f"published    {_upload(folder, options)}", soft_wrap=True)


def _upload(folder: Path, options: PushOptions) -> str:
    """Upload a folder, and return its address."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    except ImportError as error:
        raise GameError("push needs a library: pip install 'robustgames[hub]'; --dry-run needs none") from error
    api = HfApi()
    try:
        address = api.create_repo(options.name, private=options.private, exist_ok=True)
        api.upload_folder(repo_id=options.name, folder_path=str(folder), commit_message="Run of robustgames")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise GameError(f"{options.name} is not published: {said}; log in with hf auth login") from error
    return str(address)
