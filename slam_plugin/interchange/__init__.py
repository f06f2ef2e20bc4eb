"""Weights of other libraries: folders of transformers, and the correspondence of their weights with ours."""
