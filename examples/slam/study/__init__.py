"""The study: the paper's rows at a laptop's scale, from pre-training to a table of scores (``make study``)."""
