"""The program of a bundle: classify images, watch a folder, test itself."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import getpass
import json
import os
import string
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from edgetpu_lib import deploy
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.bundle import watch
from edgetpu_lib.bundle.contents import SERVICE, TEXTS, Bundle, Classifier

EXIT_BAD_INPUT = 2
# As a shell tells of a program that Ctrl-C, or the end of a pipe, has ended.
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141
# Between two looks into a folder.
_LEAST_S, _MOST_S = 0.01, 86_400


def main(
    read: Callable[[str], bytes], archive: str, arguments: list[str] | None = None
) -> int:
    """Run the program of a bundle and return its exit code.

    Args:
        read: returns the content of a file in the bundle.
        archive: path of the bundle.
        arguments: as typed after its name; `None` takes `sys.argv`.

    Returns:
        0 on success; 2 for bad input, with a line that names it and the remedy; 130
        when interrupted.
    """
    # Names that the terminal or the log has no letters for.
    sys.stdout.reconfigure(errors="backslashreplace")
    bundle = Bundle(read)
    try:
        code = _run(bundle, archive, _parser(bundle, archive).parse_args(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        # Of the output; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return EXIT_PIPE
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        return EXIT_BAD_INPUT


def _parser(bundle: Bundle, archive: str) -> argparse.ArgumentParser:
    settings = bundle.settings
    parser = argparse.ArgumentParser(
        Path(archive).name,
        description=f"Classify images with {settings.name}.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="*", help="image files, folders of them, or - for paths"
        " on standard input, one a line")  # fmt: skip
    add("--top_k", "--top-k", type=_count, default=5, help="number of predictions")
    add("--json", action="store_true", help="print one JSON object a line")
    add("--device", help="cpu, or the Edge TPU that must be used: usb, usb:0, pci …")
    add("--watch", metavar="DIR", help="classify images that arrive in a folder, as"
        " JSON lines, until it is stopped")  # fmt: skip
    add("--interval_s", "--interval-s", type=_seconds, default=1.0,
        help="seconds between two looks into it")  # fmt: skip
    add("--self_test", "--self-test", action="store_true", help="compare the"
        " predictions of three stored images with those of the bundling")  # fmt: skip
    add("--show", choices=TEXTS, help="print a file of the bundle")
    version = f"{settings.name}, edgetpu_lib {settings.version}"
    add("--version", action="version", version=version)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if _LEAST_S <= float(text) <= _MOST_S:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not {_LEAST_S} to {_MOST_S} seconds")


def _run(bundle: Bundle, archive: str, asked: argparse.Namespace) -> int:
    if asked.show:
        print(shown(bundle, asked.show, archive, asked.watch), end="")
        return 0
    if not (asked.images or asked.watch or asked.self_test):
        name = Path(archive).name
        raise InputError(
            f"no image given; run `python3 {name} photo.jpg`, or `python3 {name}"
            " --show=README.txt`"
        )
    if asked.watch:
        watch.images_in(Path(asked.watch))
    classifier, place = _open(bundle, asked.device)
    if asked.self_test:
        _self_test(bundle, classifier, place, as_json=asked.json)
    listed = sys.stdin.buffer
    images = (p for source in asked.images for p in deploy.image_paths(source, listed))
    failed = _classify(classifier, images, asked.top_k, as_json=asked.json)
    if asked.watch:
        arriving = watch.arriving(Path(asked.watch), interval_s=asked.interval_s)
        _classify(classifier, arriving, asked.top_k, as_json=True)
    return EXIT_BAD_INPUT if failed else 0


def _open(bundle: Bundle, device: str | None) -> tuple[Classifier, str]:
    """Open the model on a device, or on the CPU where no Edge TPU opens."""
    on_cpu = device == "cpu"
    if not bundle.settings.compiled:
        if device and not on_cpu:
            raise InputError(
                f"--device={device}, but this bundle has no compiled model; leave it"
                " out, or bundle the model with --compiled"
            )
        on_cpu = True
    if not on_cpu:
        wanted = DeviceOptions(device)
        try:
            return bundle.open(compiled=True, device=wanted), "Edge TPU"
        except InputError as error:
            if device:
                raise
            print(f"on the CPU: {error}", file=sys.stderr)
    return bundle.open(compiled=False), "CPU"


def _self_test(
    bundle: Bundle, classifier: Classifier, place: str, *, as_json: bool
) -> None:
    """Compare the stored predictions with those of an opened model."""
    worst = bundle.verify(classifier)
    count = len(bundle.settings.expected)
    if as_json:
        found = {"images": count, "device": place, "largest_difference_steps": worst}
        _print_json({"self_test": found})
        return
    print(
        f"{count} predictions on the {place} as at the bundling (largest difference"
        f" {worst:.2f} quantization steps)",
        flush=True,
    )


def _classify(
    classifier: Classifier, images: Iterable[Path], top: int, *, as_json: bool
) -> int:
    """Print the predictions of images as they come; return how many cannot be used."""
    failed = 0
    for image in images:
        try:
            predictions = classifier.predict(image, top)
        except InputError as error:
            failed += 1
            if as_json:
                _print_json({"image": str(image), "error": str(error)})
            else:
                print(f"error: {error}", file=sys.stderr)
            continue
        if as_json:
            found = [dataclasses.asdict(each) for each in predictions]
            _print_json({"image": str(image), "predictions": found})
        else:
            lines = (
                f"{p.probability:8.2%}  {p.label}  (class {p.index})"
                for p in predictions
            )
            print("\n".join([str(image), *lines]), flush=True)
    return failed


def _print_json(content: dict) -> None:
    print(json.dumps(content), flush=True)


def shown(bundle: Bundle, name: str, archive: str, folder: str | None) -> str:
    """Return a text of a bundle, with the paths of this machine filled in.

    Args:
        bundle: that it lies in.
        name: one of `TEXTS`.
        archive: path of the bundle.
        folder: that the service is to watch; `None` leaves a path to be changed.
    """
    text = bundle.read(name).decode()
    if name != SERVICE:
        return text
    paths = (sys.executable, archive, folder or "/home/pi/images")
    python, bundled, watched = (_quoted(os.path.abspath(path)) for path in paths)
    return string.Template(text).safe_substitute(
        python=python, archive=bundled, folder=watched, user=getpass.getuser()
    )


def _quoted(path: str) -> str:
    """Quote a path for a command of systemd. Source: systemd.service(5)."""
    for special, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        path = path.replace(special, escaped)
    return f'"{path}"'
