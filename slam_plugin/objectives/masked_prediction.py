"""Masked prediction of w2v-BERT (Chung et al. 2021): name the code of every masked frame."""

from torch import Tensor, nn

from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    MaskedObjective,
    MaskedPass,
    NoOptions,
    Output,
    Schema,
    Surroundings,
    classify,
    mean_or_zero,
    of_rows,
    register,
)


@register
class MaskedPrediction(MaskedObjective):
    """Cross-entropy of the multimodal encoder's output with the quantiser's most likely ids, at the masked frames."""

    name = "masked_prediction"
    kinds = ("speech",)
    Options = NoOptions
    requires = ("contrastive",)
    predicted = {
        "masked_prediction_loss": "masked_prediction_frames",
        "masked_prediction_accuracy": "masked_prediction_frames",
    }
    logged = Schema(predicted, guesses={"masked_prediction": "code"})

    def __init__(self, surroundings: Surroundings, weight: Schedule | float, options: NoOptions) -> None:
        super().__init__(weight)
        # In a tuple: the sibling's parameters stay its own.
        self._siblings = (surroundings.built["contrastive"],)
        self.to_codes = nn.Linear(surroundings.dim, self._siblings[0].options.codes)

    def predict(self, view: MaskedPass, rows: Tensor | None = None) -> Output:
        masked, quantized = self._siblings[0].targets(view)
        states, ids = of_rows(rows, masked, view.encoded.speech[masked], quantized.ids)  # (N, dim), (N,)
        loss, correct, count = classify(self.to_codes(states), ids)
        logs = {
            "masked_prediction_loss": loss.detach(),
            "masked_prediction_accuracy": correct,
            "masked_prediction_frames": count,
        }
        return Output(mean_or_zero(loss, count), logs)
