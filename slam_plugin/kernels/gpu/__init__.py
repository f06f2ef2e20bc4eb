"""Our Triton kernels, each beside the plain definition that it equals. Imported only where they run (``fused.py``)."""
