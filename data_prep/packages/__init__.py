"""Corpora in packages of Debian and PyPI, one module for each, and the data folders that are made of them."""
