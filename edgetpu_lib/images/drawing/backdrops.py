"""Paint the background of a flower, and the weeds in front of it."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edgetpu_lib.images.drawing import petals
from edgetpu_lib.images.drawing.flowers import LEAVES
from edgetpu_lib.images.drawing.petals import Mesh, join, paint, ramp, ribbons, tint

GREENS = (
    "#a9c078 #6f9440 #3d5f24",
    "#c8cf9a #8a9c4c #55702c",
    "#5c7a3c #35541f #1c3312",
    "#d9c98a #a39a50 #6b7034",
)
DARKS = ("#3a3a2a #16180f", "#6b5a3c #2c2418", "#5a6a8a #26303f")
SKIES = ("#3f7fc8 #a8cdea", "#6a9fd8 #dce8ee", "#8f9aa6 #d5d8da")
EARTHS = ("#6b4c34 #4a3222", "#8f7a60 #6a5642", "#4c4038 #2e2620")
WALLS = ("#cbbfa8 #b3a58c", "#a4553e #7c3d2e", "#8d9aa6 #6d7985", "#d9d4c8 #b9b2a2")
WOODS = ("#b98a58 #7c5430", "#d8b88c #a88050", "#6f4a30 #43291a", "#c9c2b4 #8f8878")
PANES = "#fbf6e4 #c8dcec #8fa48c #57483c"
LAMPS = ("#fff6c8 #c8e070", "#ffd890 #ff9a50", "#e8f4ff #a0c8ff")
GRASSES = (
    "#31501f #5a8230 #83a648",
    "#3c5a2a #6b8f3c #a3b860",
    "#5c5a2c #8f8a4a #bdb070",
)
WEEDS = ("#f4f4ea #ffffff", "#e8c010 #ffe040", "#6a86d8 #9ab4f4", "#d870a8 #f4a8cc")


def backdrop(
    rng: np.random.Generator, size: int, light: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Paint a background, float32 [size, size, 3], RGB, 0..255.

    Also returns whether it is so close that the flower casts a shadow on it.
    """
    kinds: tuple[tuple[float, Callable, float, bool], ...] = (
        (0.26, _meadow, 3.5, False),
        (0.12, _sky, 1.0, False),
        (0.16, _bokeh, 1.5, False),
        (0.12, _soil, 1.2, True),
        (0.16, _bed, 2.5, True),
        (0.10, _wall, 1.8, True),
        (0.08, _room, 2.0, False),
    )
    _, draw, blur, near = kinds[rng.choice(len(kinds), p=[kind[0] for kind in kinds])]
    image = Image.fromarray(np.clip(draw(rng, size, light), 0, 255).astype(np.uint8))
    blurred = soft(image, blur * rng.uniform(0.2, 1.3))
    return np.asarray(blurred, dtype=np.float32), near


def weeds(rng: np.random.Generator, size: int, light: np.ndarray) -> Image.Image:
    """Return a layer, RGBa [size, size], of grass, leaves or small blossoms."""
    kind = rng.choice(3, p=[0.45, 0.3, 0.25])
    if kind == 0:
        roots = _scatter(rng, rng.integers(4, 15), (-0.1, 0.9), (1.1, 1.3))
        mesh = _grass(rng, roots, rng.uniform(0.5, 0.9))
    elif kind == 1:
        roots = _scatter(rng, rng.integers(2, 6), (-0.1, 0.6), (1.1, 1.1))
        mesh = _foliage(rng, roots, rng.uniform(0.2, 0.4))
    else:
        roots = _scatter(rng, rng.integers(2, 7), (0.0, 0.4), (1.0, 1.0))
        mesh = _filler(rng, roots, rng.uniform(0.04, 0.09))
    return paint(mesh, size, (0, 0), size, light)


def over(image: np.ndarray, layer: Image.Image, blur: float) -> np.ndarray:
    """Lay a layer (RGBa) over an image, float [size, size, 3], 0..255.

    `blur` is the defocus in parts of 192 of the side.
    """
    values = np.asarray(soft(layer, blur), dtype=np.float32)
    return image * (1 - values[..., 3:] / 255) + values[..., :3]


def soft(image: Image.Image, blur: float) -> Image.Image:
    """Blur an image; the radius is in parts of 192 of its side."""
    radius = blur * image.width / 192
    if radius < 1.5:
        return image.filter(ImageFilter.BoxBlur(radius))
    # Half the resolution is enough for what is out of focus, and much quicker.
    half = image.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2))
    return half.resize(image.size, Image.BILINEAR)


def _grass(rng: np.random.Generator, roots: np.ndarray, length: float) -> Mesh:
    """Return a blade of grass for each root [blades, 3]."""
    count = len(roots)
    return ribbons(
        tint(rng, rng.choice(GRASSES), (count, 5, 2), 0.45),
        rng.normal(-np.pi / 2, 0.3, count),
        length * rng.uniform(0.6, 1.3, count),
        length * rng.uniform(0.012, 0.03, count),
        rise=rng.normal(0, 0.5, count),
        bend=rng.normal(0, 1.0, count),
        twist=rng.normal(0, 0.6, count),
        shape=(0.6, 0.6),
        roots=roots,
    )


def _foliage(rng: np.random.Generator, roots: np.ndarray, length: float) -> Mesh:
    """Return a leaf of one kind, in any direction, for each root [leaves, 3]."""
    count = len(roots)
    _, width, _, shape, cup, codes = LEAVES[rng.choice(list(LEAVES))]
    return ribbons(
        tint(rng, codes, (count, 5, 2), 0.6),
        rng.uniform(0, 2 * np.pi, count),
        length * rng.uniform(0.6, 1.3, count),
        length * (0.1 + 0.5 * width) * rng.uniform(0.7, 1.2, count),
        rise=rng.normal(0, 0.4, count),
        bend=rng.normal(-0.6, 0.5, count),
        twist=rng.normal(0, 0.4, count),
        shape=shape,
        cup=cup,
        roots=roots,
    )


def _filler(rng: np.random.Generator, roots: np.ndarray, length: float) -> Mesh:
    """Return a small blossom of no class, with five petals, for each root."""
    count = len(roots)
    blossoms = ribbons(
        tint(rng, rng.choice(WEEDS), (count * 5, 4, 2)),
        np.arange(count * 5) * 2 * np.pi / 5 + np.repeat(rng.uniform(0, 6, count), 5),
        length,
        0.36 * length,
        rise=0.3,
        shape=(1.3, 0.5),
        roots=np.repeat(roots, 5, axis=0),
    )
    disc = petals.florets(rng, "#c9a020 #e8c030", 12, 0.2 * length, 0.1)
    disc = petals.moved(disc, (0, 0, 0.1))
    return join([blossoms, *(petals.moved(disc, root) for root in roots)])


def _meadow(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    image = _fade(rng.choice(GREENS), size) * (0.6 + 0.7 * noise(rng, size, 5, 12))
    start = rng.uniform(-0.2, 0.5)
    blades = _grass(rng, _scatter(rng, 90, (0, start), (1, 1.3)), rng.uniform(0.3, 0.5))
    roots = _scatter(rng, rng.integers(1, 16), (0, max(start, 0.1)), (1, 1))
    dots = _filler(rng, roots, rng.uniform(0.015, 0.05))
    return over(image, paint(join([blades, dots]), size, (0, 0), size, light), 0.4)


def _bed(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    image = _fade("#2c4420 #1a2c14", size) * (0.6 + 0.8 * noise(rng, size, 6, 20))
    leaves = [
        _foliage(rng, _scatter(rng, 45, (0, 0), (1, 1)), rng.uniform(0.12, 0.3))
        for _ in range(2)
    ]
    return over(image, paint(join(leaves), size, (0, 0), size, light), 0.3)


def _soil(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    grains = noise(rng, size, 5, 24, 60, 110)
    image = _fade(rng.choice(EARTHS), size) * (0.2 + 1.6 * grains)
    leaves = _foliage(rng, _scatter(rng, rng.integers(1, 12), (0, 0), (1, 1)), 0.15)
    return over(image, paint(leaves, size, (0, 0), size, light), 0.4)


def _sky(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    clouds = noise(rng, size, 3, 7, 18).clip(0.45, 0.8) - 0.45
    image = _fade(rng.choice(SKIES), size)
    image += (248 - image) * clouds * rng.uniform(0.5, 2.8)
    if rng.uniform() < 0.5:
        rows = np.linspace(0, 1, size)[:, None, None] - rng.uniform(0.6, 0.95)
        hedge = ((rows + 0.2 * noise(rng, size, 8, 25) - 0.1) * 30).clip(0, 1)
        trees = _fade(rng.choice(GREENS), size) * (0.3 + noise(rng, size, 12, 40))
        image += (trees - image) * hedge
    return image


def _bokeh(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    image = _fade(rng.choice(GREENS + DARKS), size)
    image *= 0.4 + 0.9 * noise(rng, size, 3, 6)
    canvas = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas, "RGBA")
    codes = str(rng.choice(LAMPS))
    for x, y, radius, place in rng.random((rng.integers(8, 40), 4)):
        radius = 0.02 + 0.07 * radius
        box = [size * side for side in (x - radius, y - radius, x + radius, y + radius)]
        red, green, blue = (255 * ramp(codes, place)).astype(int).tolist()
        draw.ellipse(box, fill=(red, green, blue, int(rng.uniform(25, 120))))
    return np.asarray(canvas, dtype=np.float32)


def _wall(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    """Return plaster, bricks or a fence of planks."""
    kind = rng.choice(["plaster", "bricks", "planks"])
    codes = str(rng.choice(WOODS if kind == "planks" else WALLS))
    image = _fade(codes, size) * (0.75 + 0.5 * noise(rng, size, 4, 30, 90))
    if kind == "plaster":
        return image
    across, tall = (0.22, 0.09) if kind == "bricks" else (rng.uniform(0.1, 0.2), 9.0)
    y, x = np.mgrid[:size, :size] / size + rng.uniform(0, 1)
    row = np.floor(y / tall)
    column = x / across + (row % 2) * 0.5
    tone = rng.normal(1, 0.13, (200, 40))[row.astype(int), column.astype(int)]
    gap = (column % 1 * across < 0.012) | (y % tall < 0.012)
    return image * np.where(gap, 0.5, tone)[..., None]


def _room(rng: np.random.Generator, size: int, light: np.ndarray) -> np.ndarray:
    """Return a table before a wall with a window in it."""
    image = _fade(rng.choice(WALLS), size) * rng.uniform(0.5, 1.1)
    left, top, wide = rng.uniform((-0.2, -0.2, 0.2), (0.8, 0.2, 0.5))
    y, x = np.mgrid[:size, :size][..., None] / size
    pane = (x > left) & (x < left + wide) & (y > top) & (y < top + 0.5)
    image = np.where(pane, 255 * ramp(PANES, rng.uniform()), image)
    wood = _fade(rng.choice(WOODS), size)
    grain = Image.fromarray(rng.random((40, 4), dtype=np.float32))
    lines = np.asarray(grain.resize((size, size), Image.BICUBIC))[..., None]
    return np.where(y > rng.uniform(0.6, 0.85), wood * (0.7 + 0.5 * lines), image)


def _scatter(rng, count, low, high) -> np.ndarray:
    """Return points [count, 3] in a box of the image, the lower ones in front."""
    spots = rng.uniform(low, high, (count, 2))
    return np.concatenate([spots, 3 * spots[:, 1:]], axis=1)


def noise(rng: np.random.Generator, size: int, *cells: int) -> np.ndarray:
    """Return smooth noise [size, size, 1] from 0 to 1, coarse cells strongest."""
    total = np.zeros((size, size), np.float32)
    for octave, count in enumerate(cells):
        grid = Image.fromarray(rng.random((count, count), dtype=np.float32))
        total += np.asarray(grid.resize((size, size), Image.BICUBIC)) / 2**octave
    return total[..., None] / sum(0.5**octave for octave in range(len(cells)))


def _fade(codes: str, size: int) -> np.ndarray:
    """Return an image [size, size, 3] (0..255) that runs from top to bottom."""
    rows = 255 * ramp(codes, np.linspace(0, 1, size))[:, None]
    return np.repeat(rows, size, axis=1).astype(np.float32)
