"""Write a page of images with captions, in sections; one file, with all inside."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from edgetpu_lib.base import artifacts
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import opening

PAGE = Path(__file__).with_name("gallery_page")
# The larger side of an image on the page, pixels; some 5 kB each.
THUMBNAIL_SIZE = 160
_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image on the page.

    Attributes:
        source: a file, or what is read like one.
        caption: lines under it.
    """

    source: Any
    caption: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """Images under a heading.

    Attributes:
        title: the heading.
        about: a sentence on what these images are, and what to do.
        groups: images that are shown together.
        left_out: number of groups that are not shown.
        rows: lines without an image.
    """

    title: str
    about: str
    groups: Sequence[Sequence[Shown]] = ()
    left_out: int = 0
    rows: Sequence[str] = ()


def write_gallery(
    output: str | Path,
    title: str,
    facts: Iterable[str],
    sections: Sequence[Section],
) -> Path:
    """Write the page; it needs neither scripts nor a network.

    Args:
        output: HTML file to write.
        title: heading of the page.
        facts: lines under it.
        sections: in their order; those with nothing to show are left out.

    Raises:
        InputError: the file cannot be written.
    """
    shown = [part for part in sections if part.groups or part.rows]
    template = string.Template((PAGE / "index.html").read_text("utf-8"))
    styles = (PAGE.with_name("page.css"), PAGE / "gallery.css")
    page = template.substitute(
        title=html.escape(title),
        style="".join(path.read_text("utf-8") for path in styles),
        facts="\n".join(f"<p>{html.escape(line)}</p>" for line in facts),
        links="\n".join(
            f'<li><a href="#part{number}">{html.escape(part.title)}</a></li>'
            for number, part in enumerate(shown)
        ),
        sections="\n".join(map(_section, range(len(shown)), shown)),
    )
    return artifacts.write_file(output, page.encode("utf-8", "replace"))


def _section(number: int, part: Section) -> str:
    parts = [
        f'<section id="part{number}">',
        f"<h2>{html.escape(part.title)}</h2>",
        f'<p class="quiet">{html.escape(part.about)}</p>',
    ]
    if part.groups:
        parts.append('<div class="groups">')
        parts += map(_group, part.groups)
        parts.append("</div>")
    if part.left_out:
        parts.append(f'<p class="quiet">… and {part.left_out} more, not shown</p>')
    if part.rows:
        rows = [f'<li dir="auto">{html.escape(row)}</li>' for row in part.rows]
        parts += ["<ul>", *rows, "</ul>"]
    return "\n".join([*parts, "</section>"])


def _group(images: Sequence[Shown]) -> str:
    kind = "group" if len(images) > 1 else "single"
    return f'<div class="{kind}">{"".join(map(_figure, images))}</div>'


def _figure(shown: Shown) -> str:
    lines = [html.escape(line) for line in shown.caption]
    first = "".join(f"<strong>{line}</strong>" for line in lines[:1])
    rest = "".join(f"<span>{line}</span>" for line in lines[1:])
    caption = f'<figcaption dir="auto">{first}{rest}</figcaption>'
    return f"<figure>{_thumbnail(shown)}{caption}</figure>"


def _thumbnail(shown: Shown) -> str:
    """Return the image element; of an image that cannot be read, a box."""
    try:
        _, image = opening.open_image(shown.source)
        rgb = opening.to_rgb(image, shown.source)
    except InputError:
        return '<div class="unreadable">no image</div>'
    small = Image.fromarray(rgb)
    small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=_QUALITY)
    text = base64.b64encode(packed.getvalue()).decode()
    name = html.escape(shown.caption[0] if shown.caption else "")
    return (
        f'<img src="data:image/jpeg;base64,{text}" alt="{name}"'
        f' width="{small.width}" height="{small.height}">'
    )
