"""Images to learn from: what is drawn, from arrays, folders and LMDBs, and what each says of bad input."""

import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robustgames as rg
from robustgames.data import decoding as image_decoding
from robustgames.data import digits, mnist
from robustgames.data.decoding import decode
from robustgames.data.images import ImageArray, StreamedImages, digits_images, image_folder, lsun, mnist_images
from robustgames.errors import GameError

STREAM = 0  # bytes of memory that force decoding at every draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed, side=8, mode="RGB"):
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def flat(image):
    """Return the values of a picture as a source must give them: (C H W) in [-1, 1], in float64."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).flatten().double() / 127.5 - 1


def write(folder, names, damaged=()):
    """Write one 8 x 8 picture per name; return them in the order of their names."""
    pictures = {name: picture(i) for i, name in enumerate(names)}
    for name, image in pictures.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG no image" if name in damaged else encoded(image))
    return [pictures[name] for name in sorted(pictures)]


def database(folder, values):
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(folder), map_size=2**24)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    environment.close()
    return folder


def everything(source, dtype=torch.float64):
    return source.batch(torch.arange(source.count), dtype)


def error(call, *arguments, **settings):
    """Return the message of a GameError, which must be one line."""
    with pytest.raises(GameError) as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, [f"{i:02}.png" for i in range(12)])
    return tmp_path


# -- arrays ----------------------------------------------------------------------------------------------
def test_bytes_become_numbers_from_minus_one_to_one():
    source = ImageArray(torch.tensor([[0, 51, 204, 255]], dtype=torch.uint8))
    drawn = source.batch(torch.tensor([0]), torch.float64)
    torch.testing.assert_close(drawn, torch.tensor([[-1.0, -0.6, 0.6, 1.0]], dtype=torch.float64), rtol=0, atol=1e-15)
    assert (source.count, source.size, source.side, source.channels) == (1, 4, 2, 1)


def test_real_images_are_stretched_from_zero_one():
    source = ImageArray(torch.tensor([[0.0, 0.25, 0.5, 1.0]]))
    assert source.batch(torch.tensor([0])).tolist() == [[-1.0, -0.5, 0.0, 1.0]]


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4)])
def test_a_draw_is_flat_images_that_the_generator_chose(shape):
    pixels = torch.arange(10 * 12, dtype=torch.uint8).view(10, 3, 2, 2)
    source = ImageArray(pixels)
    drawn = source.sample(shape, generator(), torch.float64)
    assert drawn.shape == (*shape, 12) and drawn.dtype == torch.float64
    index = torch.randint(10, shape, generator=generator())
    assert torch.equal(drawn, pixels.flatten(1)[index].double() / 127.5 - 1)
    assert torch.equal(drawn, source.sample(shape, generator(), torch.float64))
    assert not torch.equal(drawn, source.sample(shape, generator(1), torch.float64))


def test_every_image_is_drawn_equally_often():
    source = ImageArray(torch.tensor([[0], [85], [170], [255]], dtype=torch.uint8))
    drawn = source.sample((40_000,), generator(), torch.float64)
    for value in (-1.0, -1 / 3, 1 / 3, 1.0):  # standard deviation of a share: 0.0022
        assert abs(((drawn - value).abs() < 1e-12).double().mean() - 0.25) < 0.01


def test_bytes_stay_bytes_when_a_source_moves():
    pixels, labels = torch.zeros(3, 4, dtype=torch.uint8), torch.arange(3)
    moved = ImageArray(pixels, labels, pixels).to("cpu", torch.float64)
    assert moved.pixels.dtype == moved.kept.dtype == torch.uint8 and moved.labels.dtype == torch.int64
    assert ImageArray(torch.zeros(3, 4)).to("cpu", torch.float64).pixels.dtype == torch.float64


@pytest.mark.parametrize(
    ("images", "settings", "says"),
    [
        (torch.zeros(0, 4), {}, "(0, 4)"),
        (torch.zeros(3, 5), {}, "(3, 5)"),
        (torch.zeros(3, 4), {"channels": 3}, "channels=3"),
        (torch.zeros(3, 1, 2, 4), {}, "(3, 1, 2, 4)"),
        (torch.full((3, 4), 1.5), {}, "lie in [1.5, 1.5]: [0, 1] is needed"),
        (torch.full((3, 4), float("nan")), {}, "lie in [nan, nan]"),
        (torch.zeros(3, 4, dtype=torch.int64), {}, "torch.int64"),
        (torch.zeros(3, 4), {"labels": torch.zeros(2)}, "3 images have labels of shape (2,)"),
        (torch.zeros(3, 4), {"held_out": torch.zeros(3, 9)}, "held-out images are torch.float32 of shape (3, 9)"),
        (torch.zeros(3, 4), {"held_out": torch.zeros(3, 4, dtype=torch.uint8)}, "torch.float32 of shape (M, 4)"),
    ],
)
def test_wrong_arrays_are_explained(images, settings, says):
    assert says in error(ImageArray, images, **settings)


def test_digits_and_mnist_are_the_packages_own_splits():
    for source, split, side in ((digits_images(), digits(), 8), (mnist_images(), mnist(), 28)):
        assert (source.channels, source.side, source.size) == (1, side, side**2)
        torch.testing.assert_close(everything(source), 2 * split.train_images.double() - 1, rtol=0, atol=1e-6)
        torch.testing.assert_close(source.held_out, 2 * split.test_images - 1, rtol=0, atol=1e-6)
        assert torch.equal(source.labels, split.train_labels)
        assert torch.equal(source.held_out_labels, split.test_labels)
    assert mnist_images().pixels.dtype == torch.uint8


# -- folders ---------------------------------------------------------------------------------------------
def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path):
    pictures = write(tmp_path, ["b/x.png", "a.png", "b/a/deep.PNG", "c.jpeg.png", "Z.png"])
    write(tmp_path, [".hidden.png", ".trash/x.png", "notes.txt"])
    (tmp_path / "b" / "loop").symlink_to(tmp_path)  # a link upwards is followed once
    source = image_folder(tmp_path, side=8)
    assert (source.count, source.channels, source.side, source.size, source.skipped) == (5, 3, 8, 192, 0)
    assert torch.equal(everything(source), torch.stack([flat(p) for p in pictures]))
    assert source.held_out.shape == (0, 192)


@pytest.mark.parametrize(("form", "suffix"), [("BMP", "bmp"), ("GIF", "gif"), ("TIFF", "tif"), ("PPM", "ppm")])
def test_lossless_formats_come_back(tmp_path, form, suffix):
    image = picture(0).quantize(256).convert("RGB")  # GIF holds 256 colors: 64 pixels have no more
    (tmp_path / f"x.{suffix}").write_bytes(encoded(image, form))
    assert torch.equal(everything(image_folder(tmp_path, side=8))[0], flat(image))


def test_lossless_webp_comes_back(tmp_path):
    (tmp_path / "x.webp").write_bytes(encoded(picture(0), "WEBP", lossless=True))
    assert torch.equal(everything(image_folder(tmp_path, side=8))[0], flat(picture(0)))


def test_the_central_square_is_cut():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8], wide[:, 8:16], wide[:, 16:] = 10, 120, 250
    for pixels in (wide, wide.transpose(1, 0, 2)):
        assert (decode(encoded(Image.fromarray(pixels)), 8, 3) == 120).all()


def test_reducing_averages_instead_of_picking_pixels():
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    reduced = decode(encoded(Image.fromarray(board.astype(np.uint8))), 16, 1)
    assert abs(reduced.astype(float) - 127.5).max() < 8  # picking one of 4 pixels would give 0 or 255 alone


def test_jpeg_is_decoded_at_a_smaller_scale_with_the_same_result():
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    large = coarse.resize((400, 300), Image.Resampling.BICUBIC)
    fast = decode(encoded(large, "JPEG", quality=95), 32, 3).astype(float)
    slow = decode(encoded(large, "PNG"), 32, 3).astype(float)
    assert abs(fast - slow).mean() < 2 and abs(fast - slow).max() < 12


def test_gray_color_palette_alpha_and_16_bits():
    gray = picture(0, mode="L")
    values = np.array(gray)
    assert (decode(encoded(gray), 8, 3) == values).all()  # the same in red, green and blue
    assert (decode(encoded(gray), 8, 1)[0] == values).all()
    deep = Image.fromarray(values.astype(np.uint16) * 256 + 17)
    assert (decode(encoded(deep), 8, 1)[0] == values).all()
    deep = Image.fromarray(np.array(deep).astype(np.int32))
    deep.format = "PNG"  # as Pillow before 10.3 opens it
    assert (np.array(image_decoding._upright(deep, 1)) == values).all()
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    for image in (red.convert("RGBA"), red.quantize(4)):
        assert decode(encoded(image), 8, 3)[:, 0, 0].tolist() == [255, 0, 0]
    assert decode(encoded(red), 8, 1)[0, 0, 0] == 76  # 0.299 * 255


def test_photographs_are_turned_upright():
    image, orientation = picture(0), Image.Exif()
    orientation[0x0112] = 6  # the camera lay on its side: turn clockwise
    turned = decode(encoded(image, exif=orientation), 8, 3)
    assert (turned == np.rot90(np.array(image), -1).transpose(2, 0, 1)).all()


def test_held_out_images_are_never_drawn(folder):
    whole = {row.numpy().tobytes() for row in everything(image_folder(folder, side=8), torch.float32)}
    for memory in (STREAM + 3 * 192, 2**30):
        source = image_folder(folder, side=8, held_out=0.25, memory=memory)
        assert isinstance(source, StreamedImages) == (memory < 2**30)
        assert source.count == 9 and source.held_out.shape == (3, 192) and source.held_out.dtype == torch.float32
        drawn = {row.numpy().tobytes() for row in everything(source, torch.float32)}
        kept = {row.numpy().tobytes() for row in source.held_out}
        assert drawn | kept == whole and not drawn & kept
    assert torch.equal(source.held_out, image_folder(folder, side=8, held_out=3).held_out)


def test_a_stream_draws_what_the_array_draws_however_many_workers(folder):
    array = image_folder(folder, side=8)
    assert isinstance(array, ImageArray)
    expected = array.sample((2, 20), generator(), torch.float32)
    for workers in (1, 2, 5):
        stream = image_folder(folder, side=8, memory=STREAM, workers=workers)
        assert isinstance(stream, StreamedImages) and stream.count == array.count
        assert torch.equal(stream.sample((2, 20), generator(), torch.float32), expected)


def test_memory_is_the_bytes_of_the_decoded_images(folder):
    assert isinstance(image_folder(folder, side=8, memory=12 * 192), ImageArray)
    assert isinstance(image_folder(folder, side=8, memory=12 * 192 - 1), StreamedImages)
    assert isinstance(image_folder(folder, side=8, channels=1, memory=12 * 64), ImageArray)


# -- what cannot be read ---------------------------------------------------------------------------------
NAMES = [f"{i}.png" for i in range(6)]


def test_damaged_images_are_skipped_counted_and_named_once(tmp_path):
    pictures = write(tmp_path, NAMES, damaged=("1.png", "4.png"))
    whole = encoded(pictures[2])
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning) as caught:
        source = image_folder(tmp_path, side=8, workers=3)
    assert torch.equal(everything(source), torch.stack([flat(pictures[i]) for i in (0, 3, 5)]))
    assert source.count == 3 and source.skipped == 3
    (message,) = [str(w.message) for w in caught]
    assert message.startswith(f"3 of 6 images of {tmp_path} cannot be read and are skipped; the first: '1.png'")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_damaged_image_of_a_stream_is_replaced_by_its_successor(tmp_path, workers):
    pictures = write(tmp_path, NAMES, damaged=("1.png", "2.png", "5.png"))
    source = image_folder(tmp_path, side=8, memory=STREAM, workers=workers)
    assert source.count == 6 and source.skipped == 0
    with pytest.warns(UserWarning, match=r"cannot be read so far and are replaced .* '1.png' \(not an image\)"):
        drawn = everything(source)
    assert torch.equal(drawn, torch.stack([flat(pictures[i]) for i in (0, 3, 3, 3, 4, 0)]))
    assert source.skipped == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert torch.equal(everything(source), drawn)


def test_a_file_that_vanishes_is_replaced_too(tmp_path):
    pictures = write(tmp_path, NAMES)
    source = image_folder(tmp_path, side=8, memory=STREAM)
    os.unlink(tmp_path / "3.png")
    with pytest.warns(UserWarning, match="'3.png'"):
        assert torch.equal(source.batch(torch.tensor([3]), torch.float64)[0], flat(pictures[4]))


def test_a_held_out_image_never_replaces_another(tmp_path):
    write(tmp_path, NAMES)
    kept = image_folder(tmp_path, side=8, held_out=2, memory=2 * 192).held_out
    for name in NAMES[:-1]:  # whichever is damaged, its successor among those that are drawn steps in
        damaged = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.warns(UserWarning, match="cannot be read"):
            source = image_folder(tmp_path, side=8, held_out=2, memory=2 * 192)
            drawn = everything(source, torch.float32)
        assert not any(torch.equal(row, image) for row in drawn for image in kept)
        (tmp_path / name).write_bytes(damaged)


def test_nothing_readable_is_an_error(tmp_path, monkeypatch):
    write(tmp_path, NAMES, damaged=NAMES)
    says = f"no image of {tmp_path} can be read; the first: '0.png' (not an image)"
    assert says in error(image_folder, tmp_path, side=8)
    monkeypatch.setattr(image_decoding, "FURTHEST", 3)
    stream = image_folder(tmp_path, side=8, memory=STREAM)
    assert says in error(everything, stream) and stream.skipped <= 6


@pytest.mark.parametrize("load", [image_folder, lsun])
def test_folders_that_hold_nothing_are_explained(tmp_path, load):
    (tmp_path / "notes.txt").write_text("no image")
    assert error(load, tmp_path / "none") == f"{tmp_path}/none does not exist: give the path of a folder of images"
    assert error(load, tmp_path / "notes.txt").startswith(f"{tmp_path}/notes.txt is a file: give the path of a folder")
    assert f"{tmp_path} holds no image: files ending in .bmp, .gif" in error(load, tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"channels": 4}, "channels is 4: 3 (red, green, blue) or 1 (gray)"),
        ({"side": 0}, "side is 0"),
        ({"held_out": -0.1}, "held_out is -0.1: a share in [0, 1) or a whole number of images"),
        ({"held_out": 2.5}, "held_out is 2.5"),
        ({"held_out": float("nan")}, "held_out is nan"),
        ({"held_out": float("inf")}, "held_out is inf"),
        ({"held_out": 12}, "held_out is 12: of 12 images some must remain"),
        ({"held_out": 5, "memory": 4 * 192}, "held_out is 5: 5 images, and memory holds 4; use held_out=4"),
        ({"memory": -1}, "memory is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_settings_out_of_range_are_explained(folder, settings, says):
    assert says in error(image_folder, folder, **{"side": 8, **settings})


# -- LMDB ------------------------------------------------------------------------------------------------
def test_an_lmdb_gives_what_its_extracted_images_give(tmp_path):
    pictures = write(tmp_path / "files", NAMES)
    values = {f"key{i}".encode(): encoded(p, "WEBP", lossless=True) for i, p in enumerate(pictures)}
    base = database(tmp_path / "bedroom_val_lmdb", values)
    files, stored = lsun(tmp_path / "files", side=8), lsun(base, side=8)
    assert torch.equal(everything(stored), everything(files))
    assert torch.equal(everything(lsun(base / "data.mdb", side=8)), everything(files))
    assert torch.equal(everything(image_folder(base, side=8, channels=3)), everything(files))


def test_an_lmdb_is_streamed_by_threads_and_opened_twice(tmp_path):
    pictures = [picture(i) for i in range(9)]
    base = database(tmp_path / "db", {b"%02d" % i: encoded(p) for i, p in enumerate(pictures)})
    first, second = (lsun(base, side=8, memory=STREAM, workers=w) for w in (1, 4))
    assert torch.equal(everything(first), torch.stack([flat(p) for p in pictures]))
    assert torch.equal(
        first.sample((3, 20), generator(), torch.float32), second.sample((3, 20), generator(), torch.float32)
    )


def test_an_lmdb_is_only_read(tmp_path):
    base = database(tmp_path / "db", {b"k": encoded(picture(0))})
    (base / "lock.mdb").unlink()
    before = (base / "data.mdb").read_bytes()
    everything(lsun(base, side=8, memory=STREAM))
    assert [p.name for p in base.iterdir()] == ["data.mdb"] and (base / "data.mdb").read_bytes() == before


def test_a_damaged_value_is_replaced_and_named(tmp_path):
    values = {b"a": encoded(picture(0)), b"b": b"", b"c": b"none"}
    source = lsun(database(tmp_path / "db", values), side=8, memory=STREAM)
    with pytest.warns(UserWarning, match=r"2 of 3 images of .*; the first: 'b' \(not an image\)"):
        assert torch.equal(everything(source), flat(picture(0)).expand(3, -1))


def test_lmdbs_that_cannot_be_used_are_explained(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"this is no database" * 1000)
    assert f"cannot open the LMDB in {tmp_path}/broken (MDB_INVALID" in error(lsun, tmp_path / "broken")
    empty = database(tmp_path / "empty", {})
    assert f"{empty} is an LMDB without entries" in error(lsun, empty)
    several = error(lsun, tmp_path)
    assert several.startswith(f"{tmp_path} holds the LMDBs broken, empty: give one, e.g. {tmp_path}/broken")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert error(lsun, empty).endswith('lmdb is not installed: pip install "robustgames[lsun]"')


# -- identity --------------------------------------------------------------------------------------------
class Holder(rg.ZeroSumGame):
    sizes = (1, 1)

    def __init__(self, source):
        self.source = source

    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


@pytest.mark.parametrize("memory", [STREAM + 2 * 192, 2**30])
def test_the_fingerprint_of_a_game_knows_its_images(tmp_path, memory):
    for name in ("one", "other"):
        write(tmp_path / name, NAMES)
    base = {"side": 8, "memory": memory}

    def fingerprint(name="one", **settings):
        return Holder(image_folder(tmp_path / name, **{**base, **settings})).fingerprint()

    known = fingerprint()
    assert fingerprint() == fingerprint("other") == known  # where the files lie does not matter
    assert Holder(image_folder(tmp_path / "one", **base)).to("cpu", torch.float64).fingerprint() == known
    assert len({known, fingerprint(side=4), fingerprint(channels=1), fingerprint(held_out=1)}) == 4
    (tmp_path / "other" / NAMES[0]).write_bytes(encoded(Image.new("RGB", (8, 8))))
    assert fingerprint("other") != known
