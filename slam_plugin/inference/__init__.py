"""Inference from checkpoints: inputs of users, batches, and what each kind of model can do."""

from slam_plugin import fairseq_logging as fairseq_logging
