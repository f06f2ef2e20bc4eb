"""Corpora that come in packages of Debian: one module for each, and the data folder that is made of them."""
