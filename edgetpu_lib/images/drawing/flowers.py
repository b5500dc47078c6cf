"""Model five species of flower with stems and leaves as random meshes."""

import numpy as np

from edgetpu_lib.images.drawing import petals
from edgetpu_lib.images.drawing.petals import Mesh, join, moved, ribbons, tint

CLASS_NAMES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
# For each class: probability, and the colours from base to tip. White, yellow and pink
# occur in several classes, so that colour alone does not decide.
PALETTES = """
daisy 0.42 #f4f2e4 #fbfaf5 #ffffff
daisy 0.13 #fbf6f2 #fdf0f2 #eb9fb6
daisy 0.19 #e6a40c #f5c71a #ffdc3c
daisy 0.16 #d98bab #e273a2 #ef95bb
daisy 0.10 #c9b6e0 #b79ad8 #cdb8ea
dandelion 1.00 #c98a0a #ecb400 #fbd21f #ffe34e
rose 0.24 #6e0412 #a80c20 #c2182c #d4344a
rose 0.25 #c24a72 #e27a9c #f0a2bc #f8c4d4
rose 0.16 #d8c89c #f0e8d2 #faf6ea #fffdf8
rose 0.19 #c98a10 #f0b820 #f9d24a #fde68c
rose 0.10 #cc5a2c #ee8e50 #f8b080 #fcd0a8
rose 0.06 #7a1450 #b82a7c #cc4a94 #e070b0
sunflower 0.60 #d98200 #f2a900 #fcc41a #ffd23a
sunflower 0.16 #e6c03a #f6dc5a #fbeb8c
sunflower 0.12 #6b1a10 #9a3412 #c96a14
sunflower 0.04 #f0e2b0 #f8f0d2 #fcf8e8
sunflower 0.05 #7c2a0e #d98a10 #fcc92c
seeds 0.50 #6b6a2a #4a3216 #2f1c0e #4a2c10 #a8741c
seeds 0.30 #2c1a10 #24140c #3a2210
seeds 0.20 #8a9038 #96762a #a8761c #c9921e
tulip 0.24 #c9a63c #b81c22 #d1232c #e2464a
tulip 0.22 #c8b92c #f0b90c #fbd02a #ffdf5c
tulip 0.20 #e9dcc0 #e57aa0 #ea86ac #f5b4cc
tulip 0.13 #c9d29a #f4f1e2 #fbf9f2 #ffffff
tulip 0.10 #d9a23c #e8641c #f07d28 #f8a850
tulip 0.06 #bca8b4 #5e2366 #71307c #8f4c9a
tulip 0.05 #d8c04a #c9202a #d8342c #fbd23c
"""
# Leaves: length, half width, teeth, shape, cup and colours.
LEAVES = {
    "daisy": (0.9, 0.17, (5, 0.2), (1.6, 0.6), 0.2, "#48652c #5f8238 #6d9140"),
    "dandelion": (1.9, 0.27, (6, 0.75), (1.35, 0.6), 0.3, "#5d7a38 #5c8a34 #76a044"),
    "rose": (0.95, 0.34, (12, 0.13), (0.85, 0.75), 0.25, "#23431f #2f5a2a #447238"),
    "sunflower": (1.35, 0.52, (9, 0.08), (0.62, 0.75), 0.3, "#3d6128 #4f7a32 #6b9642"),
    "tulip": (3.3, 0.29, (0, 0.0), (0.8, 0.7), 0.9, "#4d7350 #5d8a5c #83a77a"),
}
# Half thickness of the stem, its distance below the middle of the blossom, and the
# angle between blossom and viewer: mean and deviation in degrees.
STEMS = {
    "daisy": (0.05, 0.15, 32, 24),
    "dandelion": (0.05, 0.15, 38, 24),
    "rose": (0.07, 0.6, 40, 18),
    "sunflower": (0.1, 0.15, 30, 22),
    "tulip": (0.08, 0.75, 76, 17),
}


def plant(class_name: str, rng: np.random.Generator) -> Mesh:
    """Return a random blossom of a class with stem and leaves."""
    index = CLASS_NAMES.index(class_name)
    head = (_daisy, _dandelion, _rose, _sunflower, _tulip)[index](rng)
    degrees = np.clip(rng.normal(*STEMS[class_name][2:]), -10, 110)
    behind = class_name != "tulip" and rng.uniform() < 0.05
    tilt, lean = np.radians([130 if behind else degrees, rng.normal(0, 16)])
    cos, sin = np.cos([tilt, lean]), np.sin([tilt, lean])
    up = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    aside = np.array([[cos[1], -sin[1], 0], [sin[1], cos[1], 0], [0, 0, 1]])
    turn = aside @ up
    stalk = _stalk(class_name, rng, turn @ [0, 0, -1])
    return join([moved(head, (0, 0, 0), turn), stalk])


def _colours(name: str, rng: np.random.Generator) -> str:
    """Draw one of the rows of `PALETTES` that belong to a name."""
    rows = [row.split(maxsplit=2) for row in PALETTES.strip().splitlines()]
    weights, codes = zip(*(row[1:] for row in rows if row[0] == name), strict=True)
    chance = np.array(weights, dtype=float)
    return str(rng.choice(codes, p=chance / chance.sum()))


def _calyx(rng: np.random.Generator, count: int, radius: float, rise: float) -> Mesh:
    """Return the green cup under a blossom with its pointed bracts."""
    green = tint(rng, "#5d7f35 #7da04a", (count, 4, 2))
    turn, long, wide = petals.ring(rng, count), 1.3 * radius, 0.28 * radius
    bracts = ribbons(green, turn, long, wide, rise=rise, shape=(0.8, 0.8))
    u = np.linspace(0, 1, 4)[None]
    green = tint(rng, "#4c6d2c #6d9140", (1, 3, 10))
    cup = petals.bowls(
        green, np.zeros(1), radius * np.sqrt(u), 0.24 * (u - 1) - 0.03, np.pi + 0 * u
    )
    return join([moved(bracts, (0, 0, -0.06)), cup])


def _rays(rng, codes, counts, core, width, shape, wild) -> Mesh:
    """Return rings of petals around a disc of radius `core`."""
    lift, rings = rng.normal(0.15, 0.15), []
    for layer, count in enumerate(counts):
        rays = ribbons(
            tint(rng, codes, (count, 7, 2), 0.75, 0.04),
            petals.ring(rng, count, wild),
            rng.normal(1.02 - core - 0.04 * layer, 0.045, count),
            rng.normal(width, 0.1 * width, count),
            rise=lift + 0.14 * layer + rng.normal(0, 0.3 * wild, count),
            bend=rng.normal(-0.32, 0.25, count),
            twist=rng.normal(0, 0.22, count),
            shape=shape,
            cup=0.3,
            start=core * 0.92,
        )
        rings.append(rays)
    return join(rings)


def _daisy(rng: np.random.Generator) -> Mesh:
    total, codes = rng.integers(17, 34), _colours("daisy", rng)
    counts, width = [int(0.6 * total), int(0.5 * total)], rng.uniform(1.5, 2.0) / total
    rays = _rays(rng, codes, counts, 0.22, width, (1.45, 0.42), 0.17)
    disc = petals.florets(rng, "#b9a21c #e8b50f #f3c41c #d99a0c", 140, 0.29, 0.16)
    return join([_calyx(rng, 10, 0.26, 0.2), rays, moved(disc, (0, 0, 0.06))])


def _sunflower(rng: np.random.Generator) -> Mesh:
    codes, core = _colours("sunflower", rng), rng.uniform(0.36, 0.52)
    rays = _rays(rng, codes, rng.integers(13, 18, 3), core, 0.12, (0.8, 0.75), 0.3)
    disc = petals.florets(rng, _colours("seeds", rng), 400, core, 0.13)
    return join([_calyx(rng, 18, core * 1.1, 0.1), rays, moved(disc, (0, 0, 0.05))])


def _tulip(rng: np.random.Generator) -> Mesh:
    codes, slim = _colours("tulip", rng), rng.uniform(0.56, 0.72)
    wide = rng.uniform(0, 0.25) if rng.uniform() < 0.65 else rng.uniform(0.25, 1)
    u = np.linspace(0, 1, 17)[None]
    belly = np.sin(np.pi * (0.03 + (0.86 - 0.3 * wide) * u)) ** 0.6
    # The edges of a petal are brighter than its middle line.
    fold = 0.86 + 0.26 * np.abs(np.linspace(-1, 1, 12))[:, None] ** 1.5
    parts = []
    for layer in range(2):
        flare = wide * rng.uniform(0.4, 0.7, (3, 1)) * u**2.2
        radius = slim * (0.92 + 0.1 * layer + rng.normal(0, 0.03, (3, 1))) * belly
        tall = rng.normal(1.7 - 0.35 * wide, 0.05, (3, 1))
        spread = (1.22 - 0.25 * wide) * (1 - u**2.6).clip(0) ** 0.6 + 0 * tall
        turn = np.arange(3) * 2.0944 + 1.0472 * layer + rng.normal(0, 0.1, 3)
        colours = tint(rng, codes, (3, 16, 12), 0.7, 0.025) * fold
        form = radius + flare, tall * u - 0.8, spread
        parts.append(petals.bowls(colours, turn, *form, edge=0.12))
    return join(parts)


def _rose(rng: np.random.Generator) -> Mesh:
    count, loose = rng.integers(15, 22), rng.uniform(0.3, 1.0)
    k = np.linspace(0, 1, count)[:, None]
    u = np.linspace(0, 1, 8)[None]
    rim = (1 - k) ** 0.8 * (0.55 + 0.35 * loose) + 0.09 + rng.normal(0, 0.02, k.shape)
    lip = (0.26 * (1 - k) * loose + 0.05) * u**4
    radius = rim * (0.3 + 0.7 * u**0.7) + 0.5 * lip
    tall = 0.6 + 0.4 * k + (1 - loose) * 0.4 * (1 - k)
    high = tall * u**1.3 - 0.8 * lip - 0.45
    spread = (0.85 + 0.9 * k) * np.sin(np.pi * (0.25 + 0.5 * u)) + 0 * rim
    turn = np.arange(count) * petals.GOLDEN_ANGLE + rng.normal(0, 0.15, count)
    colours = tint(rng, _colours("rose", rng), (count, 7, 10), 0.4, 0.015)
    form = {"drop": 0.24, "edge": -0.1, "swirl": 0.1}
    bloom = petals.bowls(colours, turn, radius, high, spread, **form)
    return join([moved(_calyx(rng, 5, 0.3, -0.3), (0, 0, -0.35)), bloom])


def _dandelion(rng: np.random.Generator) -> Mesh:
    if rng.uniform() < 0.36:
        return _seed_head(rng)
    k = np.linspace(0, 1, count := 210)
    loose = 1.0 if rng.uniform() < 0.75 else rng.uniform(0.45, 0.9)
    rays = ribbons(
        tint(rng, _colours("dandelion", rng), (count, 4, 1), 0.8),
        np.arange(count) * petals.GOLDEN_ANGLE + rng.normal(0, 0.1, count),
        (0.34 + 0.62 * k**0.7) * rng.normal(1, 0.05, count),
        0.045,
        rise=1.3 - 1.25 * loose * k**0.8 + rng.normal(0, 0.08, count),
        bend=rng.normal(-0.25, 0.2, count),
        twist=rng.normal(0, 0.25, count),
        shape=(1.6, 0.25),
        start=0.06,
    )
    return join([_calyx(rng, 14, 0.25, 0.5 - 1.2 * loose), rays])


def _seed_head(rng: np.random.Generator) -> Mesh:
    """Return the globe of a dandelion in seed, some parachutes already blown away."""
    count, hairs = 110, 9
    z = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * petals.GOLDEN_ANGLE
    flat = np.sqrt(1 - z**2)
    way = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], -1)
    way += rng.normal(0, 0.05, way.shape)
    wind = rng.normal(size=3)
    way = way[way @ wind < np.linalg.norm(wind) * rng.choice([0.5, 2], p=[0.4, 0.6])]
    side = np.cross(way, [0.3, 0.5, 0.81])
    other = np.cross(way, side)
    angle = np.arange(hairs)[:, None] * 2 * np.pi / hairs
    fan = side[:, None] * np.cos(angle) + other[:, None] * np.sin(angle)
    tips = 0.92 * way[:, None] + 0.22 * fan
    tips = (tips + rng.normal(0, 0.02, tips.shape)).reshape(-1, 3)
    pale = petals.threads(np.repeat(way * 0.72, hairs, axis=0), tips, 0.005, "#e9e8e2")
    stalks = petals.threads(way * 0.12, way * 0.72, 0.005, "#a8a08a")
    seeds = petals.threads(way * 0.1, way * 0.24, 0.025, "#7a5a35")
    return join([seeds, stalks, pale])


def _stalk(class_name: str, rng: np.random.Generator, away: np.ndarray) -> Mesh:
    """Return stem and leaves of a blossom whose back points in direction `away`."""
    thick, gap, _, _ = STEMS[class_name]
    start, knee = away * gap, away * (gap + 1.5) + [0, 0.5, 0]
    foot = knee + [rng.normal(0, 0.5), 4.5, -0.5]
    t = np.linspace(0, 1, 15)[:, None]
    line = (1 - t) ** 2 * start + 2 * t * (1 - t) * knee + t**2 * foot
    code = str(rng.choice(["#6b8f45", "#7a9a52", "#5d7f3a", "#8a8a52"]))
    stem = petals.tube(tint(rng, code, (1, 14, 4), 0.9), line, thick)
    low, high = (6, 9) if class_name == "tulip" else (4, 11)
    spots = line[rng.integers(low, high, rng.integers(2, 5))]
    return join([stem, _leaves(class_name, rng, spots)])


def _leaves(class_name: str, rng: np.random.Generator, spots: np.ndarray) -> Mesh:
    """Return a leaf for each spot on a stem, growing up and to one side."""
    length, width, teeth, shape, cup, codes = LEAVES[class_name]
    count = len(spots)
    ribs = np.abs(np.arange(4) - 1.5)
    veins = 1 + 0.07 * np.sin(np.arange(24)[:, None] * 1.9 + ribs)
    veins[:, 1:3] *= 1.14
    low = (0.07, 0.5) if class_name == "tulip" else (0.6, 1.8)
    return ribbons(
        tint(rng, codes, (count, 24, 4), 0.8) * veins[..., None],
        -np.pi / 2 + rng.choice([-1, 1], count) * rng.uniform(*low, count),
        length * rng.uniform(0.8, 1.2, count),
        width * rng.uniform(0.8, 1.2, count),
        rise=rng.normal(0.2, 0.4, count),
        bend=rng.normal(-0.7, 0.4, count),
        twist=rng.normal(0, 0.4, count),
        shape=shape,
        cup=cup,
        teeth=teeth,
        roots=spots,
    )
