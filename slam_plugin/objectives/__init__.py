"""Importing this package registers the objectives, in the order in which a run builds those that it has.

An objective finds the ones before it among its surroundings: ``tlm`` comes after all that it asks for their losses.
"""

import importlib

for _name in (
    "contrastive",
    "masked_prediction",
    "best_rq",
    "kmeans",
    "span_mlm",
    "tlm",
    "stm",
    "ctc",
    "text_ctc",
):
    importlib.import_module(f"{__name__}.{_name}")
