"""`audit`: a data set in, its doubtful images out, as a table and a page."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import InputError, require_writable, write_file
from edgetpu_lib.base.metadata import resize_of
from edgetpu_lib.commands import audit_page, options
from edgetpu_lib.commands.tables import print_heading, print_table
from edgetpu_lib.weights.network import Network

if TYPE_CHECKING:
    import keras

    from edgetpu_lib.data import Images
    from edgetpu_lib.doctor.doubts import Audit, Member

# So many of the most doubtful labels are printed.
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Flags:
    """With what to look, and where to write.

    Attributes:
        model: .keras file that `fine-tune` wrote, instead of --ckpt_dir; best one that
            was not trained on these images. [default: the checkpoint that ships]
        output: HTML page to write, with thumbnails inside.
        list_: text file to write: the paths of all images of the page, one a line.
        limit: number of doubtful labels, and of groups of copies, on the page.
        seed: of the parts that the images are dealt into.
        cache_dir: folder of features that are kept between runs.
    """

    model: str | None = None
    output: str = "artifacts/audit.html"
    list_: str | None = None
    limit: options.Count = 100
    seed: options.Natural = 0
    cache_dir: str = "artifacts/features"


@options.command
@options.JSON
def audit(data_dir: str, *, flags: Flags, network: Network, as_json: bool) -> None:
    """List the images of a data set that may spoil a training.

    Doubtful labels: a classifier of the network's features, trained without an image,
    predicts another class. Also copies (of the same bytes or the same scene), above all
    those in two classes or two splits, damaged, blank and tiny images, and classes with
    few images.

    Args:
        data_dir: folder of class folders, of splits with class folders, or of TFRecord
            shards.
    """
    _require_outputs(flags)
    splits = _open(data_dir)
    quiet.prefer_onednn()
    quiet.start_tensorflow()
    from edgetpu_lib.doctor import audit as doctor
    from edgetpu_lib.training import features

    model, source = open_network(flags.model, network)
    # As the model saw images in its training: cropped, or stretched to a square.
    resize = resize_of(flags.model) if flags.model else "crop"
    features_of = functools.partial(
        features.pooled_features, model, resize=resize, cache_dir=flags.cache_dir
    )
    found = doctor.audit(splits, features_of, seed=flags.seed)
    audit_page.write(flags.output, data_dir, found, flags.limit)
    if flags.list_:
        paths = audit_page.shown_members(found, flags.limit)
        lines = dict.fromkeys(str(member.path) for member in paths)
        write_file(flags.list_, "".join(f"{line}\n" for line in lines).encode())
    if as_json:
        options.print_result(_as_dict(found, source), True, [])
    else:
        _show(found)
        print(f"wrote {flags.output}")


def _require_outputs(flags: Flags) -> None:
    """Raise InputError if a file cannot be written; it would be known only at the end.

    A page without the ending of one opens in no browser.
    """
    if not flags.output.endswith((".html", ".htm")):
        raise InputError(f"--output={flags.output} must end in .html")
    for path in filter(None, (flags.output, flags.list_)):
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it")
        require_writable(path)


def _open(data_dir: str) -> dict[str, Images]:
    """Return the images by the split that they lie in, "all" where there is none."""
    from edgetpu_lib.datasets.folders import list_images
    from edgetpu_lib.datasets.notes import tell
    from edgetpu_lib.datasets.splits import stored_splits

    return tell(stored_splits(data_dir) or {"all": list_images(data_dir)})


def open_network(path: str | None, network: Network) -> tuple[keras.Model, str]:
    """Return the network whose features are compared, and where its weights are from.

    Without a file or checkpoint it is the one that ships, as in `fine-tune`.

    Raises:
        InputError: no weights fit, or the file is of another kind of network.
    """
    from edgetpu_lib import build, checkpoint

    if path and network.ckpt_dir:
        raise InputError(f"give --model={path} or --ckpt_dir, not both")
    if network.num_classes:
        raise InputError(
            f"--num_classes={network.num_classes} means nothing here: the folders are"
            " the classes; leave it out"
        )
    if path:
        model = checkpoint.open_model(path, network)
        if "head_flatten" not in [layer.name for layer in model.layers]:
            raise InputError(
                f"--model={path} has other layers than this library's networks; give a"
                " file that fine-tune wrote, or leave it out"
            )
        return model, path
    start = network.ckpt_dir
    if not start and network.has_published_layers:
        start = checkpoint.shipped_checkpoint(network.model_name)
    if not start:
        raise InputError(
            f"no checkpoint ships for --model_name={network.model_name} of this size;"
            " add --ckpt_dir=FOLDER or --model=FILE.keras"
        )
    model = build.build_model(network.model_name, num_classes=2, **network.overrides)
    checkpoint.load_weights(
        model, start, use_ema=network.enable_ema, include_classifier=False
    )
    return model, str(start)


def _as_dict(found: Audit, source: str) -> dict[str, Any]:
    """Return an audit for JSON."""

    def of(member: Member) -> dict[str, str]:
        return {**dataclasses.asdict(member), "path": str(member.path)}

    return {
        "images": found.images,
        "judged": found.judged,
        "agreement": found.agreement,
        "weights": source,
        "counts": _counts(found),
        "labels": [{**vars(s), "image": of(s.image)} for s in found.suspects],
        "copies": [
            {"kind": group.kind, "images": [of(image) for image in group.images]}
            for group in found.copies
        ],
        "flaws": [{**vars(flaw), "image": of(flaw.image)} for flaw in found.flaws],
        "rare_classes": [dataclasses.asdict(rare) for rare in found.rare],
    }


def _counts(found: Audit) -> dict[str, int]:
    """Return {kind: number of findings}, those without one too."""
    from edgetpu_lib.doctor.doubts import COPIES, FLAWS

    kinds = Counter(each.kind for each in (*found.copies, *found.flaws))
    counts = {"label": len(found.suspects)}
    counts |= {kind: kinds[kind] for kind in (*COPIES, *FLAWS)}
    return counts | {"rare class": len(found.rare)}


def _show(found: Audit) -> None:
    """Print an audit for a person."""
    rows = [
        (audit_page.TITLES[kind], str(count)) for kind, count in _counts(found).items()
    ]
    print_table(("finding", "number"), rows, right=[1])
    for rare in found.rare:
        print(f"class {rare.name}: {rare.images} images; {rare.about}")
    for flaw in found.flaws[:_SHOWN]:
        print(f"{flaw.image.path}: {flaw.about}")
    print(audit_page.agreement_line(found))
    if not found.suspects:
        return
    print_heading("\nmost doubtful labels")
    print_table(
        ("image", "label", "probability", "predicted", "probability"),
        [
            (
                _short(each.image),
                each.image.class_name,
                f"{each.given_probability:.3f}",
                each.predicted,
                f"{each.predicted_probability:.3f}",
            )
            for each in found.suspects[:_SHOWN]
        ],
        right=(2, 4),
    )


def _short(member: Member) -> str:
    """Return the last two parts of a path, or the name of a record."""
    path = member.path
    return str(Path(*path.parts[-2:])) if isinstance(path, Path) else path.name
