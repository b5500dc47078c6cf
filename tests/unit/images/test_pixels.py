"""Images of every kind become the pixels that TensorFlow 1 would have made."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from edgetpu_lib import data
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import opening, pixels

SIZES = [
    (37, 53, 24),
    (224, 301, 96),
    (61, 61, 61),
    (7, 9, 40),
    (1, 5, 33),
    (97, 64, 32),
]


def legacy(image, size):
    import tensorflow as tf

    return tf.raw_ops.ResizeBicubic(
        images=image[None],
        size=[size, size],
        align_corners=False,
        half_pixel_centers=False,
    ).numpy()[0]


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_resize_differs_from_the_legacy_operator_nowhere(height, width, size):
    rng = np.random.default_rng(width)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    found = pixels.resize_bicubic(image, size)
    assert found.dtype == np.float32
    assert found.shape == (size, size, 3)
    assert np.array_equal(found, legacy(image, size))


def test_resize_takes_floats_as_well():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    as_float = pixels.resize_bicubic(image.astype(np.float32), 16)
    assert np.array_equal(as_float, pixels.resize_bicubic(image, 16))


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert np.array_equal(pixels.resize_bicubic(image, 16), image)


def test_resize_overshoots():
    edge = np.zeros((9, 9, 3), np.uint8)
    edge[:, 5:] = 255
    assert pixels.resize_bicubic(edge, 32).max() > 255
    assert pixels.resize_bicubic(edge, 32).min() < 0


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (256, 256, 224, (16, 16, 224)),  # 224 / 256 is the published 87.5 %
        (512, 512, 224, (32, 32, 448)),
        (300, 400, 224, (19, 69, 262)),  # 262.5 is cut off, 68.5 + ½ rounded up
        (400, 300, 224, (69, 19, 262)),
        (240, 240, 240, (15, 15, 210)),  # 34 pixels of padding at 240
        (300, 300, 300, (19, 19, 262)),  # 43 at 300
        (100, 100, 96, (7, 7, 87)),  # 14 at 96
        (1, 1, 224, (0, 0, 1)),
        (1, 500, 224, (0, 250, 1)),
    ],
)
def test_crop_box_is_the_references(height, width, size, box):
    top, left, side = box
    assert pixels.window_of(height, width, size) == (top, left, side, side)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (30, 50, (0, 10, 30)),
        (50, 30, (10, 0, 30)),
        (30, 51, (0, 10, 30)),  # 10½ rounded down
        (1, 1, (0, 0, 1)),
        (8, 8, (0, 0, 8)),
    ],
)
def test_whole_square_is_the_largest_centred_one(height, width, box):
    for size in (24, 224):
        found = pixels.window_of(height, width, size, "square")
        assert found == (*box, box[-1])


@pytest.mark.parametrize("image_size", [24, 32])
def test_crop_of_a_saved_model_is_the_same(tmp_path, image_size):
    """The graph has its own version of the crop, for the bytes of an image."""
    import keras
    import tensorflow as tf

    from edgetpu_lib import convert

    unchanged = keras.Sequential(
        [keras.Input((image_size, image_size, 3)), keras.layers.Identity()]
    )
    folder = convert.save_saved_model(unchanged, tmp_path / "model")
    served = tf.saved_model.load(folder).signatures["encoded_images"]
    for number, (height, width, _) in enumerate([*SIZES, (64, 97, 0), (45, 46, 0)]):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        for suffix in ("png", "jpg"):
            path = tmp_path / f"{number}.{suffix}"
            Image.fromarray(image).save(path)
            (found,) = served(tf.constant([path.read_bytes()])).values()
            expected = pixels.normalize(data.load_image(path, image_size))
            np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [32, 96, 224, 240, 300])
def test_crop_lies_inside_any_image(size):
    for height in (1, 2, 3, 7, 50, 333):
        for width in (1, 2, 4, 9, 50, 334):
            top, left, side, _ = pixels.window_of(height, width, size)
            assert side >= 1
            assert 0 <= top <= top + side <= height
            assert 0 <= left <= left + side <= width


def test_normalized_pixels_lie_in_the_published_range():
    normal = pixels.normalize(np.arange(256, dtype=np.uint8))
    assert normal.dtype == np.float32
    assert normal[127] == 0
    assert normal[255] == 1.0
    assert normal[0] == np.float32(-0.9921875)
    assert np.array_equal(normal, (np.arange(256) - 127) / 128)


def test_rounding_clips_and_does_not_wrap():
    given = np.array([-7.3, -0.4, 0.5, 1.5, 127.49, 254.6, 255.4, 300.0], np.float32)
    found = pixels.to_uint8(given)
    assert found.dtype == np.uint8
    assert found.tolist() == [0, 0, 0, 2, 127, 255, 255, 255]


def read(path):
    return opening.to_rgb(opening.open_image(path)[1], path)


def gradient(height=40, width=50):
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(ramp[None], height, axis=0)


def coloured():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_image_is_read_as_it_is(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(coloured()).save(path)
    assert np.array_equal(read(path), coloured())


def test_content_decides_not_the_suffix(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(coloured()).save(path, "PNG")
    assert np.array_equal(read(path), coloured())


def test_grey_is_repeated(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(gradient()).save(path)
    assert np.array_equal(read(path), np.repeat(gradient()[..., None], 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(gradient().astype(np.uint16) * 257).save(path)
    assert np.array_equal(read(path), np.repeat(gradient()[..., None], 3, axis=-1))


def png(width, height, depth, colour_type, rows):
    """Return the bytes of a PNG that Pillow itself cannot write."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_16_bit_colour_is_scaled(tmp_path):
    deep = coloured().astype(">u2") * 257
    path = tmp_path / "deep.png"
    path.write_bytes(png(50, 40, 16, 2, [row.astype(">u2").tobytes() for row in deep]))
    assert np.array_equal(read(path), coloured())


def test_alpha_is_dropped(tmp_path):
    path = tmp_path / "alpha.png"
    alpha = np.full((40, 50, 1), 128, np.uint8)
    Image.fromarray(np.concatenate([coloured(), alpha], axis=-1)).save(path)
    assert np.array_equal(read(path), coloured())


def test_grey_with_alpha_is_converted(tmp_path):
    path = tmp_path / "grey_alpha.png"
    Image.fromarray(gradient()).convert("LA").save(path)
    assert np.array_equal(read(path), np.repeat(gradient()[..., None], 3, axis=-1))


@pytest.mark.parametrize("transparency", [None, 3])
def test_palette_is_looked_up(tmp_path, transparency):
    path = tmp_path / "palette.png"
    image = Image.fromarray(coloured()).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    image.save(path, **options)
    assert np.array_equal(read(path), np.asarray(image.convert("RGB")))


def test_black_and_white_is_converted(tmp_path):
    path = tmp_path / "bits.png"
    Image.fromarray(gradient() > 100).save(path)
    assert np.array_equal(read(path)[..., 1], np.where(gradient() > 100, 255, 0))


def test_cmyk_is_converted(tmp_path):
    path = tmp_path / "print.jpg"
    # No cyan, all magenta and yellow: red ink.
    ink = np.zeros((40, 50, 4), np.uint8)
    ink[..., 1:3] = 255
    Image.fromarray(ink, "CMYK").save(path, quality=95)
    red, green, blue = read(path).reshape(-1, 3).mean(axis=0)
    assert red > 220
    assert max(green, blue) < 40


def test_first_frame_of_an_animation_is_taken(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 3
    assert np.array_equal(read(path), np.full((20, 30, 3), [255, 0, 0]))


def test_on_device_loading_crops_resizes_and_equals_the_workstation(tmp_path):
    path = tmp_path / "image.png"
    image = np.random.default_rng(4).integers(0, 256, (83, 71, 3), np.uint8)
    Image.fromarray(image).save(path)
    found = pixels.load_on_device(path, 48)
    assert found.shape == (48, 48, 3)
    assert found.dtype == np.float32
    assert np.array_equal(found, data.load_image(path, 48))


def test_on_device_jpeg_is_close_to_the_workstation(class_folders):
    path = class_folders / "red" / "00.jpg"
    difference = pixels.load_on_device(path, 32) - data.load_image(path, 32)
    assert np.abs(difference).mean() < 4


LOADERS = [pixels.load_on_device, data.load_image]


def refused(loader, path):
    with pytest.raises(InputError) as caught:
        loader(path, 32)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("loader", LOADERS)
def test_missing_file_and_folder_are_refused(loader, tmp_path):
    refused(loader, tmp_path / "nowhere.jpg")
    refused(loader, tmp_path)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    "content",
    [b"", b"dear diary", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", bytes(500)],
)
def test_file_that_is_no_image_is_refused(loader, tmp_path, content):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    refused(loader, path)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_truncated_image_is_refused(loader, tmp_path, suffix, share):
    path = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(loader, path)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "webp"])
def test_damaged_image_is_read_or_refused_never_worse(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(coloured()).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, min(400, len(whole)), 6)] = rng.integers(0, 256, 6)
        path.write_bytes(damaged.tobytes())
        try:
            outcomes.add(pixels.load_on_device(path, 32).shape)
        except InputError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes <= {(32, 32, 3), "refused"}
    assert "refused" in outcomes


@pytest.mark.parametrize("loader", LOADERS)
def test_image_above_the_limit_is_refused(loader, tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(coloured()).save(path)
    monkeypatch.setattr(opening, "MAX_PIXELS", 40 * 50 - 1)
    assert "50×40" in refused(loader, path)
    monkeypatch.setattr(opening, "MAX_PIXELS", 40 * 50)
    assert loader(path, 32).shape == (32, 32, 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])
def test_huge_image_is_refused_by_its_header_alone(tmp_path, side):
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, 8, 2, []))
    refused(pixels.load_on_device, path)
