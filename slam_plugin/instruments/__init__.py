"""Measures of a trunk and its objectives that reveal a bad pre-training early, and the warnings based on them.

``docs/is_my_pretraining_working.md`` explains each measure.
"""
