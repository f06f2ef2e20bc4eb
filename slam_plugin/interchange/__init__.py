"""Weights of other libraries: folders of transformers, and the correspondence of their weights with ours."""

from slam_plugin import fairseq_logging as fairseq_logging
