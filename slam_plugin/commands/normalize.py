"""Print each text normalized, as it is read aloud.

    slam normalize --checkpoint checkpoint_best.pt "it costs $3.50"

``-`` reads texts from standard input, one per line.
"""

from slam_plugin.commands.generating import text_program

main = text_program("normalize", "text", __doc__, has_target=False)
