"""Several micro-batches in one step: their order, what they share, and when ranks exchange their gradients."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch


def exchange_order(kinds: Sequence[str], last_kinds: Sequence[str]) -> list[int]:
    """Return the order in which several ranks take the micro-batches of a plan step, as places in ``kinds``.

    One goes last, all others keep the plan's order. Torch's DDP sends gradients in buckets during the backward pass of
    the last micro-batch, in the reverse order of the parameters. What that pass does not reach is complete when it
    begins. So a long pass over speech hides the exchange, while in a short one over pairs the gradient of the text
    embedding, complete only after the layers that both share, would hold back the others.

    Args:
        kinds: kinds of the micro-batches in the plan's order, the same on every rank.
        last_kinds: kinds of which one goes last, the preferred one first. Others are taken if none of them is there.
    """
    places = list(range(len(kinds)))
    last = max(places, key=lambda place: (-_place_in(last_kinds, kinds[place]), place))
    return [place for place in places if place != last] + [last]


def _place_in(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


@contextlib.contextmanager
def kept_casts() -> Iterator[None]:
    """Keep autocast's copies of weights until the end of the context or until they are cleared within it.

    So each weight is cast once for all micro-batches of a step.

    torch forgets them when the outermost autocast context ends. This one is outermost and casts nothing itself, so
    losses and the backward pass keep their types. No weight may change, or be used without gradients first, within it:
    a copy that was made under ``no_grad`` would give its weight no gradient. The copies take 2 bytes for each weight;
    within a micro-batch only those of weights that it does not read are in addition to what it kept anyway.
    """
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def exchanges(model: Any) -> bool:
    """Return whether the model exchanges gradients with other ranks in its backward pass."""
    return hasattr(model, "no_sync")


def exchange(model: Any, last: bool) -> contextlib.AbstractContextManager:
    """Return the context of a micro-batch's two passes: several ranks exchange gradients in the ``last`` one's."""
    if not exchanges(model):
        return contextlib.nullcontext()
    if not last:
        return model.no_sync()
    # Autograd runs last what was made first: through a copy of an earlier micro-batch, a weight would get its
    # gradient at the end of the backward pass, and no exchange could begin before.
    torch.clear_autocast_cache()
    return contextlib.nullcontext()
