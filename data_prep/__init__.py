"""Data preparation: from a corpus in its publisher's layout to manifests, text and vocabularies.

- ``__main__``: ``slam prepare CORPUS``
- ``engine``: what all corpora share: units of work, parts, processes, merging, statistics, the command line
- ``formats``: lines of text, STM transcripts, sound files, long recordings and their silences
- ``text``: normalization, transcripts, vocabularies, binarized text
- ``corpora``: one module per published corpus
- ``own``: your own tables and folders
- ``manifests``: pack, unpack, check and show manifests
- ``packages``: corpora from Debian and PyPI packages
"""
