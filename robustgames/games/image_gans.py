"""GANs on images. Pixels lie in [-1, 1], the range of the generator's tanh; a point is an image, flat."""

from __future__ import annotations

from robustgames.data.images import digits_images, image_folder, mnist_images
from robustgames.errors import GameError, unknown
from robustgames.games.gan import GAN
from robustgames.games.image_networks import dcgan_critic, dcgan_generator, resnet_critic, resnet_generator
from robustgames.games.networks import MLP, Network

NETWORKS = {"dcgan": (dcgan_generator, dcgan_critic), "resnet": (resnet_generator, resnet_critic)}


class DigitsGAN(GAN):
    """A GAN of two perceptrons on scikit-learn's 8x8 digits.

    Args:
        hidden: widths of the hidden layers of both networks (leaky ReLU); the generator ends in tanh.
        latent: dimension of the generator's noise.
        objective, lipschitz, clip, penalty, batch_size: see `GAN`.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (256, 256),
        latent: int = 32,
        objective: str = "nonsaturating",
        lipschitz: str = "r1",
        clip: float = 0.01,
        penalty: float = 1.0,
        batch_size: int = 64,
    ) -> None:
        source = digits_images()
        generator = MLP((latent, *hidden, source.size), "leaky_relu", last="tanh")
        critic = MLP((source.size, *hidden, 1), "leaky_relu")
        super().__init__(generator, critic, source, latent, objective, lipschitz, clip, penalty, batch_size)
        self.hidden = tuple(hidden)


class MnistGAN(GAN):
    """A DCGAN on MNIST, by default on the 4,000 images that a dependency ships.

    Source: Radford, Metz and Chintala 2016, for the networks; layer norm in the discriminator, where neither clipping
    nor spectral normalization bounds its slope, as in Gulrajani et al. 2017.

    Args:
        width: feature maps of the generator before its last layer, and of the discriminator after its first.
        latent: dimension of the generator's noise.
        data: folder of the four IDX files of the full MNIST, or "openml" (see `data.mnist`).
        objective, lipschitz, clip, penalty, batch_size: see `GAN`.
    """

    def __init__(
        self,
        width: int = 32,
        latent: int = 64,
        data: str | None = None,
        objective: str = "nonsaturating",
        lipschitz: str = "r1",
        clip: float = 0.01,
        penalty: float = 1.0,
        batch_size: int = 64,
    ) -> None:
        source = mnist_images(data)
        generator = Network(lambda: dcgan_generator(latent, source.side, source.channels, width))
        critic = Network(lambda: dcgan_critic(source.side, source.channels, width, _norm(lipschitz)))
        super().__init__(generator, critic, source, latent, objective, lipschitz, clip, penalty, batch_size)
        self.width, self.data = width, data


class ImageGAN(GAN):
    """A DCGAN or a residual GAN on a folder of images, or on LSUN.

    Images are cut to their central square and resized; unreadable ones are skipped and counted. What does not fit into
    `memory` is decoded as it is drawn.

    Source: Radford, Metz and Chintala 2016; Gulrajani et al. 2017 for the residual networks.

    Args:
        data: the folder; one with a data.mdb is read as LSUN's LMDB (`pip install "robustgames[lsun]"`).
        side: pixels of a side.
        channels: 3 for color, 1 for gray.
        network: "dcgan" or "resnet".
        width: feature maps of the generator before its last layer, and of the discriminator after its first.
        latent: dimension of the generator's noise.
        held_out: share, or number, of the images that are never trained on, to judge by.
        memory: bytes of decoded images up to which all of them are kept on the device.
        workers: threads that decode; None: one per core.
        objective, lipschitz, clip, penalty, batch_size: see `GAN`.
    """

    def __init__(
        self,
        data: str | None = None,
        side: int = 64,
        channels: int = 3,
        network: str = "dcgan",
        width: int = 32,
        latent: int = 128,
        held_out: float = 0.1,
        memory: int = 2**30,
        workers: int | None = None,
        objective: str = "nonsaturating",
        lipschitz: str = "r1",
        clip: float = 0.01,
        penalty: float = 1.0,
        batch_size: int = 64,
    ) -> None:
        if data is None:
            raise GameError("data is None: give the folder of the images, e.g. --data photos, or data='photos'")
        if network not in NETWORKS:
            raise unknown("network", network, NETWORKS)
        source = image_folder(data, side, channels, held_out, memory, workers)
        of_generator, of_critic = NETWORKS[network]
        generator = Network(lambda: of_generator(latent, side, channels, width))
        critic = Network(lambda: of_critic(side, channels, width, _norm(lipschitz)))
        super().__init__(generator, critic, source, latent, objective, lipschitz, clip, penalty, batch_size)
        self.data, self.side, self.channels, self.network, self.width = data, side, channels, network, width
        self.held_out = held_out


def _norm(lipschitz: str) -> str:
    """Return the discriminator's norm: layer norm, but where weights alone have to bound the slope."""
    return "none" if lipschitz in ("spectral", "clip") else "layer"
