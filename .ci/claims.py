"""Check what the README claims of the runs that its commands have left in runs/."""

import json
from pathlib import Path


def metrics(agent: str, env: str, **settings: object) -> dict[str, dict[str, list[float]]]:
    """Metrics at the end of the newest run of an agent on an env, with all of these entries in its result."""
    paths = sorted(Path("runs", env, agent).glob("*/result.json"), key=lambda path: path.stat().st_mtime)
    results = [json.loads(path.read_text()) for path in paths]
    return [result for result in results if settings.items() <= result.items()][-1]["metrics"]


standard = metrics("standard_training", "DigitsAdversarial-v0", runs=5)["pgd40_accuracy"]["runs"]
robust = metrics("adversarial_training", "DigitsAdversarial-v0", runs=5)["pgd40_accuracy"]["runs"]
assert max(standard) < 0.35 and min(robust) > 0.8, (standard, robust)
modes = metrics("adam", "GaussianMixture-v0", steps=6000)["modes"]["runs"]
assert set(modes) == {25}, modes
print("the README's claims hold:", standard, robust, modes)
