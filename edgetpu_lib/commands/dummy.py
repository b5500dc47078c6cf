"""`dummy`: an architecture in, an int8 file with random weights out."""

from __future__ import annotations

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import require_writable
from edgetpu_lib.commands import options
from edgetpu_lib.weights.network import Network


@options.command
@options.JSON
def dummy(
    *,
    model_name: str = Network.model_name,
    image_size: int | None = None,
    num_classes: int | None = None,
    width_coefficient: float | None = None,
    depth_coefficient: float | None = None,
    endpoint_name: str | None = None,
    output_tflite: str,
    as_json: bool,
) -> None:
    """Write an int8 file of an architecture, with random weights.

    It needs neither weights nor images, and has the operators, shapes and sizes of the
    trained network: for check, estimate and compile. Its predictions mean nothing.

    Args:
        model_name: efficientnet-edgetpu-S, -M or -L, or the .json file of a network
            that `search` found.
        image_size: height and width of the input in pixels. [default: the network's]
        num_classes: number of outputs. [default: 1001]
        width_coefficient: factor on channels. [default: the network's]
        depth_coefficient: factor on repeats of blocks. [default: the network's]
        endpoint_name: as in export. [default: the class probabilities]
        output_tflite: .tflite file to write.
    """
    require_writable(output_tflite)
    quiet.start_tensorflow()
    from edgetpu_lib import convert, specs

    overrides = {
        "image_size": image_size,
        "num_classes": num_classes,
        "width_coefficient": width_coefficient,
        "depth_coefficient": depth_coefficient,
    }
    spec = specs.model_spec(model_name, **overrides)
    convert.write_dummy(spec, output_tflite, endpoint_name=endpoint_name)
    options.print_result(
        {"tflite": output_tflite},
        as_json,
        [f"wrote {output_tflite}, with random weights"],
    )
