"""Print a translation of each sound file or text.

    slam translate --checkpoint checkpoint_best.pt --target de talk.flac
    slam translate --checkpoint checkpoint_best.pt --target de --text "dobry den"

``-`` reads paths (with ``--text``: texts, one per line) from standard input. An input that cannot be used is reported
on standard error, and the exit code is 1.
"""

from slam_plugin.commands.generating import text_program

main = text_program("translate", "either", __doc__)
