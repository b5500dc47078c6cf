"""Write one number for each operator, for Google's Model Explorer to colour a graph.

Source of the format: `GraphNodeData` in node_data_builder.py of the package
ai-edge-model-explorer 0.1.34; the ids of a TFLite file's nodes are operator indices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from edgetpu_lib.base.artifacts import write_file

WHITE, RED, GREEN, GREY = "#ffffff", "#d62728", "#7fc97f", "#bdbdbd"


def write(
    target: str | Path, values: Mapping[int, float], *, low: str, high: str
) -> Path:
    """Write values for Model Explorer ("Add per-node data") and return the path.

    Args:
        target: .json file.
        values: number for each operator, by its index in the file; four digits are
            kept. What is not finite is left out, as JSON has no such numbers.
        low: colour of the smallest value, such as "#ffffff".
        high: colour of the largest. If all are equal: of anything but zero.

    Raises:
        InputError: the file cannot be written.
    """
    finite = {i: value for i, value in sorted(values.items()) if math.isfinite(value)}
    short = {index: float(f"{value:.4g}") for index, value in finite.items()}
    results = {str(index): {"value": value} for index, value in short.items()}
    if len(set(short.values())) == 1:
        # Between equal values there is no gradient: Model Explorer leaves them white.
        for result in results.values():
            result["bgColor"] = high if result["value"] else low
    gradient = [{"stop": 0, "bgColor": low}, {"stop": 1, "bgColor": high}]
    content = {"results": results, "gradient": gradient}
    return write_file(target, json.dumps(content, indent=1).encode())
