"""Measurements on one GPU, in stages: the products, our kernels, attention, a layer, whole updates, a training run."""
