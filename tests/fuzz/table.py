"""The table of all readers."""

from tests.fuzz import of_checkpoints, of_corpora, of_interchange, of_packages, of_plugin, of_sound, of_texts

READERS = (
    *of_plugin.READERS,
    *of_sound.READERS,
    *of_texts.READERS,
    *of_checkpoints.READERS,
    *of_corpora.READERS,
    *of_interchange.READERS,
    *of_packages.READERS,
)
