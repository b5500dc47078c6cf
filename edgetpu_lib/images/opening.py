"""Open image files of every kind that Pillow reads, upright and within limits."""

from __future__ import annotations

import functools
import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.plain_files import read_plain_file

MAX_PIXELS = 100_000_000
# A JPEG can be decoded at a half, a quarter or an eighth of its size; telephones take
# pictures of 200 million pixels.
MAX_JPEG_PIXELS = 400_000_000
# The largest side that a JPEG can have; beyond it a picture is no photo.
MAX_SIDE = 65_535

# Source: Pillow, "Image file formats"; .jfif, .jpe and .pjpeg are names of JPEG.
SUFFIXES = frozenset(
    ".jpg .jpeg .jfif .jpe .pjpeg .pjp .png .bmp .dib .gif .webp .tif .tiff"
    " .ppm .pgm .pbm .pnm .tga".split()
)
# Formats of photos that only some installations read, and what makes them readable.
REMEDIES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif"),
    ".avif": "update Pillow to 11.3 or newer",
    **dict.fromkeys((".jxl", ".jp2", ".psd"), "save them as JPEG or PNG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng"), "save them as JPEG"),
}
_DAMAGE = (OSError, ValueError, SyntaxError, IndexError, EOFError, TypeError)
_DAMAGE += (KeyError, struct.error, Image.DecompressionBombError)


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Return the endings of image files that can be read here, in small letters."""
    known = set(SUFFIXES)
    if ".avif" in Image.registered_extensions():
        known.add(".avif")
    if _register_heif():
        known |= {".heic", ".heif", ".hif"}
    return frozenset(known)


@functools.cache
def _register_heif() -> bool:
    """Let Pillow read HEIC if the package for it is installed; return whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def open_image(path: str | Path) -> tuple[bytes, Image.Image]:
    """Return an image file's bytes and the image, whose pixels are decoded later.

    Args:
        path: a plain file of any format Pillow reads, or an object with `read_bytes`.

    Raises:
        InputError: the file is missing, no plain file, empty, not an image, or larger
            than 100 million pixels (JPEG: 400 million) or 65,535 pixels a side.
    """
    is_path = isinstance(path, (str, Path))
    encoded = read_plain_file(path) if is_path else path.read_bytes()
    if not encoded:
        raise InputError(f"{path} is empty; replace or remove it")
    if encoded[4:8] == b"ftyp":
        _register_heif()
    try:
        with warnings.catch_warnings():
            # The limits below raise an error instead.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if encoded.startswith(b"\xff\xd8\xff"):
                # Past Pillow's own limit, and never as a series of pictures (MPO).
                image = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
            else:
                image = Image.open(io.BytesIO(encoded))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels; shrink it") from error
    except (UnidentifiedImageError, *_DAMAGE) as error:
        suffix = Path(path).suffix.lower() if is_path else ""
        remedy = REMEDIES.get(suffix, "use a JPEG or PNG file, or remove it")
        raise InputError(f"{path} is not an image; {remedy}") from error
    _require_size(image, path)
    return encoded, image


def _require_size(image: Image.Image, path: Any) -> None:
    """Raise InputError if decoding would take more memory or time than a photo does."""
    width, height = image.size
    limit = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS
    if width * height > limit:
        raise InputError(
            f"{path} is {width}×{height}, above {limit:,} pixels; shrink it"
        )
    if max(width, height) > MAX_SIDE:
        raise InputError(
            f"{path} is {width}×{height}, above {MAX_SIDE:,} pixels a side; cut it"
        )


def jpeg_ratio(image: Image.Image) -> int:
    """Return by how much a JPEG is shrunk while it is decoded: 1, 2, 4 or 8.

    It is 1 up to 100 million pixels, so that ordinary photos are decoded exactly.
    """
    width, height = image.size
    ratio = 1
    while image.format == "JPEG" and width * height > MAX_PIXELS * ratio**2:
        ratio *= 2
    return ratio


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1, upright, where none is told.

    Source: CIPA DC-008 (Exif 2.32), tag 0x0112.
    """
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # Damaged EXIF data are no damage to the picture.
        return 1
    return orientation if orientation in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror pixels [height, width, …] as an EXIF orientation asks for."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def to_rgb(image: Image.Image, path: Any) -> np.ndarray:
    """Decode an image of any mode to uint8 [height, width, 3], RGB, upright.

    Grey is repeated, 16-bit grey scaled to 8 bits, float grey taken as 0..1 or as
    0..255, and an alpha channel dropped. A JPEG is shrunk by `jpeg_ratio`.

    Raises:
        InputError: the file is damaged, cut short, or of float values beyond 255; the
            message names `path`.
    """
    try:
        ratio = jpeg_ratio(image)
        if ratio > 1:
            width, height = image.size
            image.draft("RGB", (width // ratio, height // ratio))
        # Some decoders turn the picture and drop the tag.
        image.load()
        orientation = orientation_of(image)
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            image = Image.fromarray(_grey_u8(np.asarray(image, np.float32), image.mode))
        rgb = np.asarray(image.convert("RGB"))
    except _DAMAGE as error:
        raise InputError(
            f"{path} is damaged ({error}); replace or remove it"
        ) from error
    return upright(rgb, orientation)


def _grey_u8(grey: np.ndarray, mode: str) -> np.ndarray:
    """Scale grey of 16 bits, 0..65535, or of floats, 0..1 or 0..255, to uint8."""
    low, high = float(grey.min()), float(grey.max())
    limit = 255 if mode == "F" else 65535
    if not (low >= 0 and high <= limit):
        raise ValueError(f"values {low:g} … {high:g}, not 0 … {limit}")
    if mode != "F":
        grey = grey / 257
    elif high <= 1:
        grey = grey * 255
    return np.rint(grey).astype(np.uint8)
