"""A local web page and JSON interface for one checkpoint: the extra ``serve``."""
