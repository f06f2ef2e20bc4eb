"""Importing this package registers the objectives, each after those that it builds on."""

from slam_plugin.objectives import contrastive, masked_prediction, span_mlm, stm, tlm  # noqa: F401
