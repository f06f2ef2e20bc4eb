"""Measures of a trunk and its objectives that show a bad pre-training early, and the warnings that follow from them.

``docs/is_my_pretraining_working.md`` says what each measure means.
"""
