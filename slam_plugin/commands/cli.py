"""``slam COMMAND``: the project's one command line.

A command's module is imported only when it is called, so that ``slam`` alone answers at once.
"""

import sys
from importlib.metadata import version

from slam_plugin.program import Menu

COMMANDS = {
    "Prepare data": {
        "prepare": "data_prep.__main__",
        "fetch": "data_prep.packages.fetch",
        "vocab": "data_prep.text.vocab",
        "binarize": "data_prep.text.binarize",
        "sentences": "data_prep.text.sentences",
        "ngram": "data_prep.text.ngram",
        "pack": "data_prep.manifests.pack",
        "cuts": "data_prep.manifests.cuts",
        "check": "data_prep.manifests.check",
        "show": "data_prep.manifests.show",
        "cluster": "slam_plugin.commands.cluster",
    },
    "Use a model": {
        "transcribe": "slam_plugin.commands.transcribe",
        "translate": "slam_plugin.commands.translate",
        "normalize": "slam_plugin.commands.normalize",
        "classify": "slam_plugin.commands.classify",
        "encode": "slam_plugin.commands.encode",
        "align": "slam_plugin.commands.align",
        "serve": "slam_plugin.commands.serve",
    },
    "Exchange weights": {
        "import": "slam_plugin.commands.import_weights",
        "export": "slam_plugin.commands.export",
    },
    "Examine runs and models": {
        "report": "slam_plugin.commands.report",
        "evaluate": "slam_plugin.commands.evaluate",
        "predict": "slam_plugin.commands.predict",
        "score": "slam_plugin.commands.score",
        "compare": "slam_plugin.commands.compare",
        "average": "slam_plugin.commands.average",
    },
    "Set up": {
        "doctor": "slam_plugin.commands.doctor",
        "recipes": "slam_plugin.commands.recipes",
        "build-kernel": "slam_plugin.commands.build_kernel",
    },
}


main = Menu("slam", "command", COMMANDS, lambda: version("slam-fairseq"))


if __name__ == "__main__":
    sys.exit(main())
