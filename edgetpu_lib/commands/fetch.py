"""`fetch`: a published checkpoint by its name, a folder on this machine."""

from __future__ import annotations

from edgetpu_lib.commands import options
from edgetpu_lib.weights.network import Network


@options.command
@options.JSON
def fetch(
    *,
    model_name: str = Network.model_name,
    cache_dir: str | None = None,
    as_json: bool,
) -> None:
    """Download Google's ImageNet checkpoint once and print its folder.

    EDGETPU_CHECKPOINT_MIRROR=file:///folder takes it from a folder instead.

    Args:
        model_name: efficientnet-edgetpu-S, -M or -L.
        cache_dir: folder of downloads. [default: ~/.cache/edgetpu_lib]
    """
    from edgetpu_lib.weights import fetch as stage

    folder = stage.fetch_checkpoint(model_name, cache_dir=cache_dir)
    options.print_result({"checkpoint": str(folder)}, as_json, [str(folder)])
