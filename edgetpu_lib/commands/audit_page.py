"""What the page of `audit` shows, section by section."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgetpu_lib.web.gallery import Section, Shown, write_gallery

if TYPE_CHECKING:
    from edgetpu_lib.doctor.doubts import Audit, Copies, Member

TITLES = {
    "label": "Predicted otherwise",
    "two classes": "Same image in two classes",
    "two splits": "Same image in two splits",
    "same bytes": "Same file twice",
    "same scene": "Same scene, almost",
    "unreadable": "Unreadable",
    "blank": "Blank",
    "small": "Very small",
    "rare class": "Classes with few images",
}
_ABOUT = {
    "label": "Predicted as another class by a classifier trained without them; the"
    " least probable label first. Many are right all the same: look, then decide.",
    "two classes": "One of the labels is wrong, or the image shows both: keep one.",
    "two splits": "What was trained on must not measure: remove it from one split.",
    "same bytes": "They count twice in training; one is enough.",
    "same scene": "Encoded again, resized, cut, or taken a moment later. They teach"
    " little, and a random split puts some on each side.",
    "unreadable": "A training stops at them; replace or remove them.",
    "blank": "They show nothing; remove them, unless that is a class.",
    "small": "Too few pixels to see what they show.",
    "rare class": "What is rare is learnt late, and its accuracy is hardly measured.",
}
# Of a scene that a fixed camera saw a hundred times, so many are shown.
_MEMBERS = 6


def agreement_line(found: Audit) -> str:
    """Return in a sentence how often the labels were predicted."""
    if not found.judged:
        return "no class has enough images to judge labels; all need some more"
    return (
        f"of {found.judged} images, {found.agreement:.1%} were predicted as labelled by"
        " a classifier trained without them"
    )


def write(output: str | Path, data_dir: str, found: Audit, limit: int) -> Path:
    """Write the page; at most `limit` doubtful labels and groups of each kind."""
    line = agreement_line(found)
    facts = (
        f"{found.images} images. {line[0].upper()}{line[1:]}.",
        "Nothing was changed. What is listed may be right: look at it, then decide.",
    )
    name = Path(data_dir).resolve().name
    return write_gallery(output, f"Audit of {name}", facts, _sections(found, limit))


def shown_members(found: Audit, limit: int) -> Iterable[Member]:
    """Yield the images of the page, those of large groups all, some more than once."""
    for suspect in found.suspects[:limit]:
        yield suspect.image
    for groups in _by_kind(found).values():
        for group in groups[:limit]:
            yield from group.images
    for flaw in found.flaws:
        yield flaw.image


def _by_kind(found: Audit) -> dict[str, list[Copies]]:
    from edgetpu_lib.doctor.doubts import COPIES

    return {kind: [g for g in found.copies if g.kind == kind] for kind in COPIES}


def _sections(found: Audit, limit: int) -> list[Section]:
    suspects = [
        [
            Shown(
                each.image.path,
                (
                    f"{each.image.class_name} → {each.predicted}",
                    f"{each.given_probability:.1%} → {each.predicted_probability:.1%}",
                    _place(each.image),
                ),
            )
        ]
        for each in found.suspects
    ]
    sections = [_section("label", suspects, limit)]
    for kind, copies in _by_kind(found).items():
        sections.append(_section(kind, [_shown(group) for group in copies], limit))
    flaws: dict[str, list] = {"blank": [], "small": []}
    unreadable = []
    for flaw in found.flaws:
        if flaw.kind == "unreadable":
            unreadable.append(flaw.about)
        else:
            caption = (flaw.image.class_name, flaw.about, _place(flaw.image))
            flaws[flaw.kind].append([Shown(flaw.image.path, caption)])
    sections += [_section(kind, groups, limit) for kind, groups in flaws.items()]
    sections.append(_section("unreadable", [], limit, unreadable))
    rows = [f"{each.name}: {each.images} images; {each.about}" for each in found.rare]
    return [*sections, _section("rare class", [], limit, rows)]


def _section(
    kind: str, groups: list[list[Shown]], limit: int, rows: Iterable[str] = ()
) -> Section:
    rows = tuple(rows)
    count = len(groups) or len(rows)
    title = f"{TITLES[kind]}: {count}"
    left_out = max(0, len(groups) - limit)
    return Section(title, _ABOUT[kind], groups[:limit], left_out, rows)


def _shown(group: Copies) -> list[Shown]:
    """Return the images of a group, of a large one the first few."""
    several = len({image.split for image in group.images}) > 1
    shown = []
    for image in group.images[:_MEMBERS]:
        where = f"{image.class_name}, {image.split}" if several else image.class_name
        shown.append(Shown(image.path, (where, _place(image))))
    left = len(group.images) - len(shown)
    if left:
        last = shown[-1]
        shown[-1] = Shown(last.source, (*last.caption, f"… and {left} more"))
    return shown


def _place(member: Member) -> str:
    return member.path.name
