"""GANs on images: a point is a flat image with pixels in [-1, 1], the range of the generator's tanh."""

from __future__ import annotations

from typing import Any

from robustgames.data.images import ImageSource, digits_images, image_folder, mnist_images
from robustgames.errors import GameError, unknown
from robustgames.games.gan import GAN
from robustgames.games.image_networks import dcgan_critic, dcgan_generator, resnet_critic, resnet_generator
from robustgames.games.networks import MLP, Network

NETWORKS = {"dcgan": (dcgan_generator, dcgan_critic), "resnet": (resnet_generator, resnet_critic)}


class DigitsGAN(GAN):
    """A GAN of two perceptrons on scikit-learn's 8x8 digits.

    Args:
        hidden: Widths of the hidden layers of both networks (leaky ReLU); the generator ends in tanh.
        latent: Dimension of the generator's noise.
        lipschitz, penalty, batch_size: See `GAN`.
        **gan: Other settings of `GAN`: objective, clip.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (256, 256),
        latent: int = 32,
        lipschitz: str = "r1",
        penalty: float = 1.0,
        batch_size: int = 64,
        **gan: Any,
    ) -> None:
        source = digits_images()
        generator = MLP((latent, *hidden, source.size), "leaky_relu", last="tanh")
        critic = MLP((source.size, *hidden, 1), "leaky_relu")
        gan |= {"lipschitz": lipschitz, "penalty": penalty, "batch_size": batch_size}
        super().__init__(generator, critic, source, latent, **gan)
        self.hidden = tuple(hidden)


class ConvolutionalGAN(GAN):
    """A GAN of convolutional networks on square images.

    The discriminator has layer norm if neither clipping nor spectral normalization bounds its slope, as in Gulrajani et
    al. 2017.

    Args:
        source: Source of the images.
        network: Name in `NETWORKS`.
        width: Feature maps of the generator before its last layer, and of the discriminator after its first.
        latent: Dimension of the generator's noise.
        lipschitz, penalty, batch_size: See `GAN`.
        norm: Norm of the generator: "batch", "group", "layer" or "none", see `dcgan_generator`.
        **gan: Other settings of `GAN`: objective, clip.

    """

    def __init__(
        self,
        source: ImageSource,
        network: str,
        width: int,
        latent: int,
        lipschitz: str = "r1",
        penalty: float = 1.0,
        batch_size: int = 64,
        norm: str = "batch",
        **gan: Any,
    ) -> None:
        make_generator, make_critic = NETWORKS[network]
        critic_norm = "none" if lipschitz in ("spectral", "clip") else "layer"
        generator = Network(lambda: make_generator(latent, source.side, source.channels, width, norm))
        critic = Network(lambda: make_critic(source.side, source.channels, width, critic_norm))
        gan |= {"lipschitz": lipschitz, "penalty": penalty, "batch_size": batch_size}
        super().__init__(generator, critic, source, latent, **gan)
        if norm != "batch":  # of checkpoints of 0.1.0, whose fingerprint lacks it
            self.norm = norm


class MnistGAN(ConvolutionalGAN):
    """A DCGAN on MNIST, by default on the 4,000 images that a dependency ships.

    Source: Radford, Metz and Chintala 2016, for the networks.

    Args:
        width: Feature maps of the generator before its last layer, and of the discriminator after its first.
        latent: Dimension of the generator's noise.
        data: Folder of the four IDX files of the full MNIST, "openml" or "shipped" (see `data.mnist`).
        **gan: Settings of `ConvolutionalGAN`: objective, lipschitz, clip, penalty, batch_size, norm.
    """

    def __init__(self, width: int = 32, latent: int = 64, data: str | None = None, **gan: Any) -> None:
        super().__init__(mnist_images(data), "dcgan", width, latent, **gan)
        self.width, self.data = width, data


class ImageGAN(ConvolutionalGAN):
    """A DCGAN or a residual GAN on a folder of images, or on LSUN.

    Images are cut to their central square and resized; unreadable ones are skipped and counted. A set that does not
    fit into `memory` is decoded as it is drawn.

    Source: Radford, Metz and Chintala 2016; Gulrajani et al. 2017 for the residual networks.

    Args:
        data: Folder of the images; one with a data.mdb is read as LSUN's LMDB (`pip install "robustgames[lsun]"`).
        side: Pixels of a side.
        channels: 3 for color, 1 for gray.
        network: "dcgan" or "resnet".
        width: Feature maps of the generator before its last layer, and of the discriminator after its first.
        latent: Dimension of the generator's noise.
        held_out: Share, or number, of the images that are kept for evaluation and never trained on.
        memory: Bytes of decoded images up to which all of them are kept on the device.
        workers: Threads that decode; one per core if None.
        **gan: Settings of `ConvolutionalGAN`: objective, lipschitz, clip, penalty, batch_size, norm.
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
        **gan: Any,
    ) -> None:
        if data is None:
            raise GameError("data is None: give the folder of the images, e.g. --data photos, or data='photos'")
        if network not in NETWORKS:  # before all images are decoded
            raise unknown("network", network, NETWORKS)
        source = image_folder(data, side, channels, held_out, memory, workers)
        super().__init__(source, network, width, latent, **gan)
        self.data, self.side, self.channels, self.network, self.width = data, side, channels, network, width
        self.held_out = held_out
