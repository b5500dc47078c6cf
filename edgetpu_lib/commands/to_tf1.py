"""`to-tf1`: a Keras file in, a checkpoint of the reference out."""

from __future__ import annotations

from edgetpu_lib.base import quiet
from edgetpu_lib.base.artifacts import require_writable, save_metadata
from edgetpu_lib.base.metadata import resize_of
from edgetpu_lib.commands import options


@options.command
@options.JSON
def to_tf1(
    *,
    model: str,
    output: str,
    global_step: options.Natural = 0,
    only_averages: bool = False,
    round_to_bfloat16: bool = False,
    as_json: bool,
) -> None:
    """Write a model as a checkpoint for the reference's tools.

    Args:
        model: .keras file of a network of this family.
        output: folder to make or replace, or a name that ends in .tar.gz.
        global_step: training step, which the names of the files hold.
        only_averages: leave out the raw values, for half of the size; enough for
            evaluation and export.
        round_to_bfloat16: round the values, so that a .tar.gz has half of the size.
    """
    require_writable(output)
    quiet.start_tensorflow()
    from edgetpu_lib import checkpoint
    from edgetpu_lib.weights import tf1_writer

    network = checkpoint.load_model(model)
    path = tf1_writer.save_weights(
        network,
        output,
        global_step=global_step,
        only_averages=only_averages,
        round_to_bfloat16=round_to_bfloat16,
    )
    save_metadata(path, model_name=network.name, resize=resize_of(model))
    options.print_result({"checkpoint": str(path)}, as_json, [f"wrote {path}"])
