"""Corpora as their publishers lay them out, turned into manifests and vocabularies; one command per corpus.

- Corpora of the paper: ``librilight``, ``librispeech``, ``librilm``, ``mc4``, ``covost2``, ``speechstew`` (which mixes
  ``ami``, ``common_voice_asr``, ``switchboard``, ``tedlium`` and ``wsj`` with LibriSpeech), ``glue``,
  ``text_normalization``; a user's own: ``own``.
- How all of these work: ``corpus`` says what a corpus is, ``parts`` reads it, ``merging`` puts the parts together,
  ``summary`` counts, ``command`` is the command line.
- What comes next: ``vocab``, ``binarize``, ``pack``, ``validate``, ``show``.
- English from Debian packages: ``packages.english`` puts a data folder together, of ``packages.steel_sky``,
  ``packages.drascula``, ``packages.amazon_queen`` and ``packages.wesnoth``, each a command too; ``packages.synthetic``
  speaks text, ``packages.clauses`` short clauses to translate.
- The downstream study: ``fetch``, ``downstream`` and, each a command too, ``fillets``, ``fortunes``, ``bibles``,
  ``movie_reviews``, ``wordnet``, ``normalization``, ``sentences``.

Every other module is a part of one of these.
"""
