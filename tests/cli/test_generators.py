"""A GAN from the command line: what is measured of it, what is drawn, and what is refused."""

import json
import re

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Generator

import robustgames as rg
from robustgames.cli import main
from robustgames.evaluation import certificates, final_certificates
from robustgames.evaluation.generators import generator_metrics, samples
from robustgames.figures.generators import generator_figures
from robustgames.games import GAN, MLP, DigitsGAN, GaussianMixtureGAN, SwissRollGAN
from robustgames.games.densities import GaussianMixture


class Perfect(GAN):
    """A generator that ignores its weights: it spreads its noise over the modes by the order of the rows."""

    def __init__(self, modes):
        self.covered = modes
        super().__init__(MLP((2, 2)), MLP((2, 1)), GaussianMixture.grid())

    def generate(self, x, noise):
        mode = torch.arange(noise.shape[-2]) % self.covered
        return self.source.means[mode] + self.source.std * noise


def test_metrics_of_a_generator_of_known_coverage():
    game = Perfect(20)
    z = game.initial((3,), Generator().manual_seed(0))
    found = final_certificates(game, z)
    assert found["modes"].tolist() == [20.0] * 3
    assert torch.allclose(found["high_quality"], 1 - torch.tensor(-4.5).exp(), atol=0.01)
    assert torch.allclose(found["reverse_kl"], torch.tensor(25 / 20).log(), atol=1e-3)
    # five of 25 modes are the last column of the grid: their mass has to come from elsewhere
    assert 0.4 < float(found["wasserstein"][0]) < 2 and float(found["sliced_wasserstein"][0]) > 0.1
    everything = final_certificates(Perfect(25), z)
    assert float(everything["wasserstein"][0]) < 0.35 and everything["modes"].tolist() == [25.0] * 3


def test_all_games_and_times_are_measured_on_the_same_noise():
    game = Perfect(25)
    z = game.initial((2,), Generator().manual_seed(0))
    assert torch.equal(samples(game, z)[0], samples(game, z)[1])
    assert torch.equal(samples(game, z[0]), samples(game, z)[0])


def test_a_diverged_run_is_nan_and_the_others_are_not():
    game = GaussianMixtureGAN(hidden=(8,))
    z = game.initial((2,), Generator().manual_seed(0))
    z[1] = float("nan")
    for found in (certificates(game, z, quick=True), final_certificates(game, z)):
        for name, value in found.items():
            assert torch.isfinite(value[0]) and torch.isnan(value[1]), name


def test_laws_without_modes_are_measured_by_distances():
    game = SwissRollGAN(hidden=(8,))
    z = game.initial((2,), Generator().manual_seed(0))
    assert set(generator_metrics(game, z)) == {"sliced_wasserstein", "wasserstein"}
    assert set(generator_metrics(game, z, quick=True)) == {"sliced_wasserstein"}


def test_figures_of_planes_and_images():
    game = GaussianMixtureGAN(hidden=(8,))
    z = game.initial((5,), Generator().manual_seed(0))
    drawn = generator_figures(game, {10: z, 20: z})
    assert set(drawn) == {"samples", "critic"}
    assert len([axes for axes in drawn["samples"].axes if axes.get_visible()]) >= 6  # three runs, two snapshots
    digits = DigitsGAN(hidden=(8,), latent=3)
    assert set(generator_figures(digits, {0: digits.initial((2,), Generator().manual_seed(0))})) == {
        "images",
        "interpolation",
    }


def test_a_gan_learns_one_mode_in_a_second():
    """A single Gaussian, three from the start's: 1,500 calls take off more than half of W1 in every run."""
    game = GaussianMixtureGAN(side=1, std=1.0, hidden=(16,), batch_size=64)
    game.source.means += 2.0
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=3), rg.make_solver("adam", 0.99, 1500, lr=1e-2), seed=0)
    before = generator_metrics(game, agent.z)["wasserstein"]
    after = generator_metrics(game, agent.learn(1500, log_interval=1500).best())["wasserstein"]
    assert float(before.min()) > 2.5 and float((after / before).max()) < 0.5


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    draw = Generator().manual_seed(0)
    for i in range(24):
        color = tuple(torch.randint(256, (3,), generator=draw).tolist())
        image = Image.new("RGB", (20, 16), color)
        image.paste((255 - color[0], color[1], color[2]), (4, 4, 12, 12))
        image.save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_a_folder_of_images_trains_by_the_same_command(tmp_path, photos, capsys):
    small = ["--set", "side=8", "width=4", "latent=4", "batch_size=4", "held_out=6"]
    command = ["train", "adam", "robustgames/ImageGAN-v0", "--runs", "1", "--steps", "40", "--data", str(photos)]
    assert main([*command, "--anneal", "--out", str(tmp_path / "runs"), *small]) == 0
    out, err = capsys.readouterr()
    assert "frechet random" in out and "1 of 25 images" in re.sub(r"\s+", " ", err)
    (folder,) = (tmp_path / "runs").glob("*/*/*")
    assert {p.stem for p in (folder / "figures").iterdir()} == {"images", "interpolation", "learning_curves"}
    result = json.loads((folder / "result.json").read_text())
    assert 0 < result["metrics"]["frechet_floor"]["mean"] < result["metrics"]["frechet_ceiling"]["mean"]
    events = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in events.Images("figures/images")] == [5, 10, 20, 40]
    assert main(["evaluate", str(folder)]) == 0


def test_wrong_image_input_is_one_line(tmp_path, photos, capsys):
    command = ["train", "adam", "robustgames/ImageGAN-v0", "--runs", "1", "--steps", "2", "--out", str(tmp_path / "r")]
    (tmp_path / "empty").mkdir()
    for words, error in (
        ([], "data is None: give the folder of the images, e.g. --data photos"),
        (["--data", str(tmp_path / "empty")], "no image"),
        (["--data", str(tmp_path / "nothing")], "does not exist"),
        (["--data", str(photos), "--set", "network=dcgann"], "unknown network 'dcgann': did you mean dcgan"),
        (["--data", str(photos), "--set", "side=9"], "side is 9"),
    ):
        assert main([*command, *words]) == 2
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("robustgames:")]
        assert len(lines) == 1 and error in lines[0], err
    assert not (tmp_path / "r").exists()


def test_a_mixture_is_reported_in_modes(tmp_path, capsys):
    words = ["--runs", "2", "--steps", "20", "--out", str(tmp_path), "--set", "hidden=[8]", "batch_size=8"]
    assert main(["train", "extra_adam", "robustgames/GaussianMixture-v0", *words]) == 0
    out = capsys.readouterr().out
    assert "modes" in out and re.search(r"high quality +│ +\S+ ± \S+ %", out)
    (folder,) = tmp_path.glob("*/*/*")
    assert {p.stem for p in (folder / "figures").iterdir()} == {"samples", "critic", "learning_curves"}
