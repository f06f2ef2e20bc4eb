"""SLAM: one Conformer pre-trained on speech, text and pairs, as a fairseq plugin (Bapna et al., 2021)."""

__version__ = "0.1.0"
