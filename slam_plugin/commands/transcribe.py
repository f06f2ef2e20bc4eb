"""Print a transcript of each sound file.

    slam transcribe --checkpoint checkpoint_best.pt talk.flac recordings/

``-`` reads paths from standard input. A file that cannot be used is reported on standard error, and the exit code is 1.
"""

from slam_plugin.commands.generating import text_program

main = text_program("transcribe", "speech", __doc__, beam=1)
