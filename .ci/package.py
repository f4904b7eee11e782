"""Build the release and use it as a stranger would.

`python -m build` makes the sdist, and the wheel from the sdist. Both must hold every tracked file that belongs in them.
The wheel is installed without constraints (torch alone is pinned, to a small build) and runs outside the repository.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), flags=re.M)[0]
COMMANDS = (
    "python -m robustgames --version",
    "robustgames list",
    "robustgames train extragradient robustgames/Forsaken-v0 --steps 200 --runs 2",
)


def tracked() -> set[str]:
    """Return the tracked files; links and what only git reads stay out of a release."""
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    return {name for name in files if not (ROOT / name).is_symlink()}


def compare(what: str, packed: set[str], wanted: set[str]) -> None:
    """Fail if a wanted file is not packed, or another one is."""
    print(f"{what}: {len(packed)} files", *(f"\n  missing {name}" for name in sorted(wanted - packed)))
    print(*(f"  not tracked {name}\n" for name in sorted(packed - wanted)), sep="", end="")
    if packed != wanted:
        sys.exit(f"the {what} is not complete: see only-include in pyproject.toml")


def build(folder: Path) -> Path:
    """Build into the folder, compare with git, and return the wheel."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    compare("sdist", packed - {"PKG-INFO"}, tracked())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    compare("wheel", packed, {name for name in tracked() if name.startswith("robustgames/")})
    return wheel


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel into a fresh environment and run the commands from an empty folder."""
    venv.create(folder / "venv", with_pip=True)
    scripts, empty = folder / "venv" / "bin", folder / "empty"
    empty.mkdir()
    subprocess.run([scripts / "pip", "install", "-q", TORCH, wheel], check=True, cwd=empty)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for command in COMMANDS:
        print(f"$ {command}", flush=True)
        program, *words = command.split()
        subprocess.run([scripts / program, *words], check=True, cwd=empty, env=clean, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        use(build(Path(name)), Path(name))
