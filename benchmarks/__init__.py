"""Speed against fairseq, torchaudio and the bare matrix products: ``python -m benchmarks``."""
