"""Speed against fairseq, transformers, torchaudio and the bare matrix products: ``python -m benchmarks``."""

import logging

# The first to configure logging wins, and one of fairseq's models asks for debugging output of everything.
logging.basicConfig(level=logging.WARNING)
