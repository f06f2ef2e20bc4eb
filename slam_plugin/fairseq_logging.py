"""Import fairseq without its effect on logging.

Three modules of fairseq call ``logging.basicConfig`` when they are imported, the first one at the level DEBUG. A
program that only wants a checkpoint would then print the debug messages of all of its libraries. fairseq's own
commands set their logging up before they import fairseq: nothing changes for them. A room that may be the first to
import fairseq imports this module in its ``__init__``.
"""

import importlib
import logging

_level, _handlers = logging.root.level, list(logging.root.handlers)
importlib.import_module("fairseq")
logging.root.setLevel(_level)
for _added in set(logging.root.handlers) - set(_handlers):
    logging.root.removeHandler(_added)
