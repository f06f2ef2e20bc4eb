"""Write ``report.html`` into a run's folder: one page with its scores, curves, warnings and examples.

    slam report runs/demo

It reads the logs and results in that folder. The page is one file that loads nothing.
"""

import argparse
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.program import Program
from slam_plugin.reporting.page import write_picture, write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("run_dir", type=Path, help="folder of a run, such as runs/demo")
    parser.add_argument("--picture", type=Path, help="also write the main charts of pre-training to this SVG file")


def run(options: argparse.Namespace) -> None:
    """Write the page and print its path."""
    try:
        print(write_report(options.run_dir))
        if options.picture is not None:
            write_picture(options.run_dir, options.picture)
            print(options.picture)
    except ValueError as error:
        raise DataError(str(error)) from error


main = Program("slam report", __doc__, add_arguments, run)
