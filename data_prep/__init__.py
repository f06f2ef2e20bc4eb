"""Corpora as their publishers lay them out, turned into manifests and vocabularies; one command per corpus."""
