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
        values: number for each operator, by its index in the file. What is not finite
            is left out, as JSON has no such numbers.
        low: colour of the smallest value, such as "#ffffff".
        high: colour of the largest.

    Raises:
        InputError: the file cannot be written.
    """
    finite = {i: value for i, value in sorted(values.items()) if math.isfinite(value)}
    content = {
        "results": {str(index): {"value": value} for index, value in finite.items()},
        "gradient": [{"stop": 0, "bgColor": low}, {"stop": 1, "bgColor": high}],
    }
    return write_file(target, json.dumps(content, indent=1).encode())
