"""Print a transcript of each sound file.

    slam transcribe --checkpoint checkpoint_best.pt talk.flac recordings/

A CTC model takes an n-gram language model, a lexicon and hotwords; the beam is then flashlight's, 50 or more:

    slam transcribe --checkpoint checkpoint_best.pt --beam 50 --lm 4gram.arpa --hotwords names.txt talk.flac

``-`` reads paths from standard input. A file that cannot be used is reported on standard error, and the exit code is 1.
"""

from slam_plugin.commands.generating import text_program

main = text_program("transcribe", "speech", __doc__, has_lm=True)
