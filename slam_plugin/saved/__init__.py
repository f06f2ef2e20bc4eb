"""Checkpoint files: written whole or not at all, and checked before anything in them is built."""
