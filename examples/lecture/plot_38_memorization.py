r"""
Does the generator copy its training set?
=========================================
*Slide: "Difficulties of GAN training" (38), its last remark: privacy and memorization*

A generator that repeats its training images would have a perfect distance to them, and give private
images away. The test: compare the distance of each generated image to the nearest training image
with that of *held-out* images, which nobody can have copied. Ratios around 1 are new images of the
kind; ratios near 0 are copies. The Fréchet distance does not see the difference.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation.frechet import image_metrics, nearest, real_digits
from robustgames.evaluation.generators import samples
from robustgames.games import DigitsGAN

real, count = real_digits(), 360
game = DigitsGAN(hidden=(128, 128), batch_size=32)
solver = rg.make_solver("adam", lr=1e-3, betas=(0.0, 0.99), anneal=900, average=0.99)
agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=1), solver, seed=0)
agent.learn(900, log_interval=900)

generator = torch.Generator().manual_seed(0)
rows = torch.randint(len(real.train), (count,), generator=generator)
copies = (real.train[rows] + 0.05 * torch.randn(count, 64, generator=generator)).clamp(-1, 1)
sets = {"held out": real.held_out, "GAN": samples(game, agent.best()[0], count), "copies": copies}

# %%
# Left: each image of the three sets above its nearest training image. Right: the distances.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
ratios, frechet, tiles = {}, {}, []
for k, (name, images) in enumerate(sets.items()):
    distance, index = nearest(images, real.train)
    pair = torch.stack([images[:9], real.train[index[:9]]]).view(2, 9, 8, 8)
    pair = torch.nn.functional.pad(pair, (0, 1, 0, 1), value=-1.0)  # a gap
    tiles.append(pair.permute(0, 2, 1, 3).reshape(18, 81))
    frechet[name], metrics = float(real.frechet(images)), image_metrics(images, real)
    ratios[name] = {key: float(metrics[key]) for key in ("nearest_mean", "nearest_low")}
    right.hist(distance, 40, range=(0, 6), histtype="step", lw=2, color=f"C{k}", label=name)
left.imshow(torch.cat(tiles).numpy(), cmap="gray_r")
left.grid(False)
names = [f"{name}\n{what}" for name in sets for what in ("image", "nearest")]
left.set(xticks=[], yticks=[4 + 9 * k for k in range(6)], yticklabels=names)
right.set(xlabel="distance to the nearest training image", title="360 images of each set")
right.legend()

# %%
# **Certificate.** The copies are caught, the generator is cleared (ratios above 1: its images are
# not perfect yet). The Fréchet distance alone would have preferred the copies.
for name in sets:
    mean, low = ratios[name].values()
    print(f"{name}: mean ratio {mean:.3f}, 5 % {low:.3f}, Fréchet distance {frechet[name]:.4f}")
assert abs(ratios["held out"]["nearest_mean"] - 1) < 1e-5
assert ratios["copies"]["nearest_mean"] < 0.4 and frechet["copies"] < frechet["GAN"]
assert min(ratios["GAN"].values()) > 0.8
