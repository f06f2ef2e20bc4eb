"""What shows a bad pre-training early: measures of a trunk and its objectives, and the warnings that follow from them.

``docs/is_my_pretraining_working.md`` says what each measure means.
"""
