"""Compare the numbers of a run with those of the committed run.

expected.json holds, for each profile, numbers and how far another processor or another
TensorFlow may be off: {profile: {name: {"value": number, "within": number}}}.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from edgetpu_lib import deploy, specs
from edgetpu_lib.base.artifacts import data_file, read_metadata, write_file
from edgetpu_lib.costs import networks

EXPECTED = Path(__file__).with_suffix(".json")
SAMPLE = "sunflower"


def measure(artifacts_dir: Path) -> dict[str, float]:
    """Return {name: number} of everything in a finished run that is compared."""
    metrics = json.loads((artifacts_dir / "metrics.json").read_text())
    numbers = {"test images": metrics["test_photos"]}
    for row in metrics["models"]:
        numbers[f"{row['name']}, top-1"] = row["top1"]
        numbers[f"{row['name']}, agreement"] = row["agreement"]
        numbers[f"{row['name']}, bytes"] = row["size_bytes"]
    int8 = read_metadata(artifacts_dir / f"{metrics['model_name']}_quant.tflite")
    numbers["int8, input scale"] = int8["input"]["scale"]
    numbers["int8, input zero point"] = int8["input"]["zero_point"]
    numbers["int8, operators on the CPU"] = int8["cpu_operators"]
    return numbers | constants()


def constants() -> dict[str, float]:
    """Return numbers of the library alone, the same in every profile."""
    numbers = {}
    for name in specs.SPECS:
        spec = specs.model_spec(name, num_classes=1001)
        numbers[f"{name}, parameters"] = specs.count_parameters(spec)[0]
        numbers[f"{name}, estimated ms"] = networks.estimate_spec(spec).latency_ms
    predictions = deploy.classify(
        data_file("quickstart_quant.tflite"), data_file(f"samples/{SAMPLE}_1.jpg")
    )
    found = {each.label: float(each.probability) for each in predictions}
    numbers[f"quickstart, {SAMPLE}"] = found.get(SAMPLE, 0.0)
    return numbers


def tolerance(name: str, value: float, test_images: int) -> float:
    """Return how far a number may differ on another machine.

    Args:
        name: a key of `measure`.
        value: what was measured here.
        test_images: how many images accuracies were measured on.
    """
    kind = name.split(", ")[-1]
    if kind == "top-1":
        # Rounding differs between processors, and so does the trained network. Two
        # such networks differ by chance like two samples of images: two and a half
        # standard errors, and never less than one image.
        chance = 2.5 * math.sqrt(value * (1 - value) / test_images)
        return round(max(chance, 1 / test_images), 4)
    if kind == "agreement":
        # Exact for the first model, which is compared with itself.
        return 0 if name.startswith("Keras") else max(0.03, 2 / test_images)
    if kind == "bytes":
        # From TensorFlow 2.19 to 2.21 they changed by 0.3 %.
        return round(0.005 * value)
    if kind == "estimated ms":
        return 1e-6
    if kind == SAMPLE:
        # Four steps of the 8-bit output: runtimes round the last bit differently.
        return 4 / 256
    return 0


def differences(profile: str, found: dict[str, float]) -> list[str]:
    """Name the numbers of a run that are not those expected of its profile.

    Args:
        profile: a key of profiles.toml; without expected numbers, nothing differs.
        found: from `measure`.
    """
    wanted = read().get(profile, {})
    if not wanted:
        return []
    lines = [f"{name}: not measured any more" for name in wanted.keys() - found.keys()]
    lines += [f"{name}: not in {EXPECTED.name}" for name in found.keys() - wanted]
    for name in found.keys() & wanted.keys():
        value, within = wanted[name]["value"], wanted[name]["within"]
        # The small addend allows for the rounding of sums of decimals.
        if abs(found[name] - value) > within + 1e-12:
            about = f" ± {within:g}" if within else ""
            lines.append(f"{name}: {found[name]:g}, expected {value:g}{about}")
    return sorted(lines)


def read() -> dict[str, dict]:
    """Return the expected numbers: {profile: {name: {"value", "within"}}}."""
    return json.loads(EXPECTED.read_text("utf-8")) if EXPECTED.exists() else {}


def refresh(profile: str, found: dict[str, float]) -> None:
    """Write the numbers of a run into expected.json, with their tolerances."""
    rows = {
        name: {"value": value, "within": tolerance(name, value, found["test images"])}
        for name, value in found.items()
    }
    text = json.dumps(read() | {profile: rows}, indent=2, ensure_ascii=False)
    write_file(EXPECTED, f"{text}\n".encode())
