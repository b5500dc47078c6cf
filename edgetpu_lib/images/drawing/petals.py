"""Build plants from small curved surfaces in 3-D and paint them.

Axes: x right, y down, z toward the viewer. A blossom has a radius of about 1 and opens
along z until it is turned.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw

GOLDEN_ANGLE = 2.39996
SUN = np.array([0.88, 0.82, 0.70])
SKY = np.array([0.42, 0.46, 0.51])


@dataclass(frozen=True)
class Mesh:
    """Facets: corners float64 [facets, 4, 3], colours float64 [facets, 3], 0..1."""

    corners: np.ndarray
    colours: np.ndarray


def join(parts: Sequence[Mesh]) -> Mesh:
    """Return one mesh with the facets of all parts."""
    corners = np.concatenate([part.corners for part in parts])
    return Mesh(corners, np.concatenate([part.colours for part in parts]))


def moved(mesh: Mesh, offset: Sequence[float], turn: np.ndarray | None = None) -> Mesh:
    """Return the mesh, turned by a matrix [3, 3] and then shifted."""
    corners = mesh.corners if turn is None else mesh.corners @ turn.T
    return Mesh(corners + np.asarray(offset), mesh.colours)


def shaded(mesh: Mesh, light: np.ndarray) -> np.ndarray:
    """Return the colours [facets, 3], 0..255, of a mesh under a light [3]."""
    diagonals = mesh.corners[:, 2:] - mesh.corners[:, :2]
    normals = np.cross(diagonals[:, 0], diagonals[:, 1])
    normals *= np.where(normals[:, 2:] < 0, -1, 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    sun = normals @ light
    # Petals are translucent: light on their back shines through.
    sun = np.where(sun > 0, sun, -0.75 * sun)[:, None]
    half = light + [0, 0, 1]
    gloss = 0.11 * (normals @ (half / np.linalg.norm(half))).clip(0)[:, None] ** 24
    sky = 0.85 - 0.25 * normals[:, 1:2]
    return np.clip(255 * (mesh.colours * (SUN * sun + SKY * sky) + gloss), 0, 255)


def paint(
    mesh: Mesh, size: int, centre: Sequence[float], scale: float, light: np.ndarray
) -> Image.Image:
    """Paint a mesh on a clear layer, an image [size, size] in mode RGBa.

    Args:
        mesh: facets nearer to the viewer cover those behind.
        size: side of the layer in pixels; facets are painted at twice that size.
        centre: of the mesh's origin, x and y in pixels.
        scale: pixels per unit of length.
        light: float64 [3], unit vector toward the light.
    """
    flat = 2 * (mesh.corners[:, :, :2] * scale + np.asarray(centre))
    off = np.abs(flat[:, 0] - size)
    seen = (off[:, 0] < 1.2 * size) & (off[:, 1] < 1.2 * size)
    flat, mesh = flat[seen], Mesh(mesh.corners[seen], mesh.colours[seen])
    order = np.argsort(mesh.corners[:, 0, 2] + mesh.corners[:, 2, 2], kind="stable")
    fills = np.full((len(order), 4), 255)
    fills[:, :3] = shaded(mesh, light)
    outlines = flat.reshape(-1, 8)[order].tolist()
    layer = Image.new("RGBA", (2 * size, 2 * size))
    draw = ImageDraw.Draw(layer)
    for outline, fill in zip(outlines, fills[order].tolist(), strict=True):
        draw.polygon(outline, fill=tuple(fill))
    return layer.convert("RGBa").reduce(2)


def ramp(codes: str, where: np.ndarray | float) -> np.ndarray:
    """Return colours [..., 3] (0..1) at places 0..1 between colours like "#ffaa00"."""
    marks, stops = _stops(codes)
    return np.stack([np.interp(where, marks, stop) for stop in stops], -1)


@functools.cache
def _stops(codes: str) -> tuple[np.ndarray, np.ndarray]:
    stops = np.array([ImageColor.getrgb(code) for code in codes.split()]) / 255
    return np.linspace(0, 1, len(stops)), stops.T


def tint(
    rng: np.random.Generator,
    codes: str,
    shape: tuple[int, int, int],
    deep: float = 0.7,
    streak: float = 0.05,
) -> np.ndarray:
    """Return petal colours from base to tip, float64 [petals, along, across, 3], 0..1.

    `shape` is (petals, along, across); `codes` are as for `ramp`; `deep` is the
    brightness at the base, `streak` the strength of fine lines.
    """
    count, n, m = shape
    along = ((np.arange(n) + 0.5) / n)[:, None]
    colours = ramp(codes, along) * (deep + (1 - deep) * np.sqrt(along))[..., None]
    petal = rng.normal(1, 0.05, (count, 1, 1, 1))
    petal = petal + rng.normal(0, 0.02, (count, 1, 1, 3))
    return colours * petal * (1 + rng.normal(0, streak, (count, 1, m, 1)))


def facets(points: np.ndarray, colours: np.ndarray) -> Mesh:
    """Cut surfaces, points [petals, n + 1, m + 1, 3], into petals · n · m facets."""
    low, high = points[:, :-1], points[:, 1:]
    rim = [low[:, :, :-1], low[:, :, 1:], high[:, :, 1:], high[:, :, :-1]]
    return Mesh(np.stack(rim, axis=3).reshape(-1, 4, 3), colours.reshape(-1, 3))


def ring(rng: np.random.Generator, count: int, wobble: float = 0.17) -> np.ndarray:
    """Return the directions [count] of petals in a slightly uneven ring, radians."""
    uneven = np.arange(count) + rng.uniform() + rng.normal(0, wobble, count)
    return 2 * np.pi / count * uneven


def ribbons(
    colours: np.ndarray,
    turn: np.ndarray,
    length: np.ndarray | float,
    width: np.ndarray | float,
    *,
    rise: np.ndarray | float = 0.0,
    bend: np.ndarray | float = 0.0,
    twist: np.ndarray | float = 0.0,
    shape: tuple[float, float] = (1.0, 0.5),
    cup: float = 0.2,
    start: float = 0.0,
    teeth: tuple[float, float] = (0, 0.0),
    roots: np.ndarray | float = 0.0,
) -> Mesh:
    """Return long petals, leaves or blades that grow outward from the z axis.

    Lengths and angles (radians) are float64 [petals], or one number for all petals.

    Args:
        colours: float64 [petals, n, m, 3].
        turn: direction in the x-y plane.
        length: along the petal.
        width: half the largest width.
        rise: angle above the x-y plane at the base.
        bend: change of that angle up to the tip.
        twist: slope across the petal.
        shape: widest place (1 = middle, more = nearer the tip) and pointedness.
        cup: upward bend of the sides.
        start: distance of the base from the z axis.
        teeth: number on each side, and depth, 0..1.
        roots: float64 [petals, 3] or 0, offset of each petal.
    """
    count, n, m = colours.shape[:3]
    columns = (turn, length, width, rise, bend, twist)
    turn, length, width, rise, bend, twist = np.stack(
        [np.broadcast_to(column, count) for column in columns]
    )[..., None]
    u = 1 - (1 - np.linspace(0, 1, n + 1)) ** 1.4
    step = np.diff(u, prepend=0) * length
    slope = rise + bend * u
    half = width * np.sin(np.pi * u ** shape[0]).clip(0) ** shape[1]
    half = half * (1 - teeth[1] * (u * teeth[0] % 1))
    v = np.linspace(-1, 1, m + 1)
    side = half[..., None] * v
    lift = cup * half[..., None] * v**2 + twist[..., None] * side
    run = start + np.cumsum(step * np.cos(slope), axis=1)
    out = run[..., None] - lift * np.sin(slope)[..., None]
    high = np.cumsum(step * np.sin(slope), axis=1)[..., None]
    cos, sin = np.cos(turn)[..., None], np.sin(turn)[..., None]
    xyz = [out * cos - side * sin, out * sin + side * cos]
    points = np.stack([*xyz, high + lift * np.cos(slope)[..., None]], -1)
    return facets(points + np.broadcast_to(roots, (count, 3))[:, None, None], colours)


def bowls(
    colours: np.ndarray,
    turn: np.ndarray,
    radius: np.ndarray,
    height: np.ndarray,
    spread: np.ndarray,
    *,
    drop: float = 0.0,
    edge: float = 0.0,
    swirl: float = 0.0,
) -> Mesh:
    """Return petals that lie around the z axis like parts of a bowl.

    `turn` [petals] is the direction of a petal's middle; `radius`, `height` and
    `spread` (half the angle covered) are float64 [petals, n + 1], from base to rim.
    Toward its sides the rim falls by `drop` and moves outward by `edge`; `swirl` moves
    one side outward and the other inward.
    """
    v = np.linspace(-1, 1, colours.shape[2] + 1)
    along = np.linspace(0, 1, radius.shape[1])[:, None]
    angle = turn[:, None, None] + spread[..., None] * v
    out = radius[..., None] * (1 + along * (edge * v**2 + swirl * v))
    high = np.broadcast_to(height, radius.shape)[..., None]
    high = high - drop * along * np.abs(v) ** 2.5
    return facets(
        np.stack([out * np.cos(angle), out * np.sin(angle), high], -1), colours
    )


def florets(
    rng: np.random.Generator, codes: str, count: int, radius: float, dome: float
) -> Mesh:
    """Return a seed disc: a dome of small florets along golden-angle spirals."""
    k = np.arange(count)
    out, turn = np.sqrt((k + 0.5) / count), k * GOLDEN_ANGLE
    spiral = (out * [np.cos(turn), np.sin(turn)]).T
    grain = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]) * 1.5 / np.sqrt(count)
    flat = spiral[:, None] + grain
    high = dome * (1 - (flat**2).sum(-1, keepdims=True))
    # Every third spiral arm is darker.
    shade = np.where(k % 3 == 0, 0.7, 1.0) * rng.normal(1, 0.12, count)
    colours = ramp(codes, out) * shade[:, None]
    return Mesh(np.concatenate([flat * radius, high], -1), colours)


def threads(start: np.ndarray, end: np.ndarray, width: float, code: str) -> Mesh:
    """Return straight threads between two sets of points, both [threads, 3]."""
    across = np.cross(end - start, [0.1, 0.2, 1.0])
    across *= width / (np.linalg.norm(across, axis=1, keepdims=True) + 1e-9)
    corners = [start - across, start + across, end + across, end - across]
    return Mesh(np.stack(corners, 1), np.tile(ramp(code, 0.5), (len(start), 1)))


def tube(colours: np.ndarray, line: np.ndarray, thick: float) -> Mesh:
    """Return a round stem along `line` [n + 1, 3], colours [1, n, m, 3]."""
    v = np.linspace(-1, 1, colours.shape[2] + 1)[:, None]
    way = np.gradient(line, axis=0)
    side = np.stack([-way[:, 1], way[:, 0], 0 * way[:, 0]], -1)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    front = np.sqrt(1 - v**2) * [0, 0, 1]
    return facets((line[:, None] + thick * (side[:, None] * v + front))[None], colours)
