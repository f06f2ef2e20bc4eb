"""The registered models, a file each. fairseq imports every file of this folder by itself."""

from slam_plugin import compat

compat.apply()
