"""Measurements on one GPU, in stages: the products, attention, our kernels, a layer, whole updates, a training run."""
