"""Speed against fairseq, transformers, torchaudio and the bare matrix products: ``python -m benchmarks``."""

import logging

# Configured here because the first call wins, and one of fairseq's models sets the level to DEBUG.
logging.basicConfig(level=logging.WARNING)
