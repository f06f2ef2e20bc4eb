"""Low-rank adapters of a trunk: which layers have them, and what a checkpoint with adapters is merged to."""

from collections.abc import Mapping

from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.modules.lora import add_adapters, merged_state
from slam_plugin.modules.trunk import Trunk


def adapt(trunk: Trunk, rank: int) -> None:
    """Freeze a trunk for good, and add an adapter to each linear map of its Conformer layers.

    Attention's and both feed-forward modules', and the two pointwise convolutions': adapters everywhere, of a small
    rank, match full fine-tuning better than adapters of attention alone (Dettmers et al. 2023, QLoRA, section 4).
    Norms, depthwise convolutions, front end and text embedding stay as they are.
    """
    trunk.requires_grad_(False)
    if trunk.has_speech:
        add_adapters(trunk.speech_layers, rank)
    add_adapters(trunk.multimodal_layers, rank)


def merged_weights(weights: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return a checkpoint's weights with all adapters merged, under the names of a model without adapters.

    Raises :class:`DataError` with ``path`` if an adapter has missing parts or other shapes than its weight.
    """
    try:
        return merged_state(weights)
    except ValueError as error:
        raise DataError(f"{path}: its adapters do not fit its weights: {error}") from error
