"""Importing this package registers the objectives, in the order in which a run builds them.

An objective finds those built before it in its context: ``tlm`` comes after all whose losses it asks for.
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
