"""Command-line programs: their help, errors and exit codes, and menus of commands.

Exit codes: 0 for success, 1 after an error, which is printed on standard error, 2 for a wrong command line, 130 after
Ctrl-C, 141 if the reader of the output has closed it (``slam check data | head``).
"""

import argparse
import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import cure_of_import

# A reference in a docstring, such as :mod:`data_prep`
ROLE = re.compile(r":\w+:`~?([^`]+)`")


class ProgramError(Exception):
    """A failure that the input did not cause. The message says what failed and what was expected."""


class UsageError(Exception):
    """Command-line arguments that do not go together."""


ERRORS = (DataError, ProgramError, OSError, UnicodeDecodeError)
FAILED, WRONG_COMMAND_LINE, INTERRUPTED, READER_GONE = 1, 2, 130, 141
STOPPED = 75  # of a training that a signal stopped: it has saved, and the same command resumes
ROOT = Path(__file__).resolve().parents[1]


class Program(NamedTuple):
    """A program. Called with its arguments, it returns the exit code.

    Attributes:
        name: as the user types it, such as ``slam vocab``.
        doc: the module's docstring. Its first line is the program's description, the rest is shown below the flags.
        add_arguments: adds the arguments to the parser.
        run: returns the exit code, None for 0. It raises one of :data:`ERRORS` for a bad input, and
            :class:`UsageError` for arguments that do not go together.
        passes_flags: collect unknown flags in ``passed``, instead of refusing them.

    Example::

        main = Program("slam vocab", __doc__, add_arguments, run)
    """

    name: str
    doc: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    passes_flags: bool = False

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        parser = self.parser()

        def parsed() -> argparse.Namespace:
            if not self.passes_flags:
                return parser.parse_args(arguments)
            options, passed = parser.parse_known_args(arguments)
            return argparse.Namespace(**vars(options), passed=passed)

        return guarded(self.name, lambda: self.run(parsed()))

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser, whose help is the module's docstring without its markup."""
        title, _, text = plain(self.doc).partition("\n")
        parser = argparse.ArgumentParser(
            self.name,
            description=title,
            epilog=text.strip("\n"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=not self.passes_flags,
        )
        self.add_arguments(parser)
        return parser


class Menu(NamedTuple):
    """Commands of one program, named by its first argument. Called with the arguments, it returns the exit code.

    Without arguments it lists the commands by purpose. A command's module is imported only when it is called.

    Attributes:
        name: as the user types it, such as ``slam prepare``.
        lists: what it lists, such as ``corpus``.
        modules: purpose -> command -> module, which has a :class:`Program` or a menu ``main``.
        version: printed by ``--version``; None for a program without that flag.
    """

    name: str
    lists: str
    modules: Mapping[str, Mapping[str, str]]
    version: Callable[[], str] | None = None

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if not words or words[0] in ("-h", "--help", "help"):
            return guarded(self.name, lambda: print(self.overview()))
        if words[0] == "--version" and self.version:
            return guarded(self.name, lambda: print(f"{self.name} {self.version()}"))
        name, *rest = words
        modules = self.commands()
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=1)
            meant = f"did you mean {near[0]}?" if near else f"{self.name} alone lists them"
            print(f"{self.name}: there is no {self.lists} {name!r}; {meant}", file=sys.stderr)
            return WRONG_COMMAND_LINE
        return guarded(f"{self.name} {name}", lambda: importlib.import_module(modules[name]).main(rest))

    def commands(self) -> dict[str, str]:
        """Return the module of each command."""
        return {name: module for group in self.modules.values() for name, module in group.items()}

    def overview(self) -> str:
        """Return the usage and a line for each command, by purpose: the first line of its module's docstring."""
        word = self.lists.upper()
        width = max(map(len, self.commands()))
        lines = [f"usage: {self.name} {word} ...      {self.name} {word} --help explains a {self.lists}"]
        for purpose, group in self.modules.items():
            lines += ["", purpose]
            lines += [f"  {name:{width}}  {_title(module)}" for name, module in group.items()]
        return "\n".join(lines)


def guarded(name: str, run: Callable[[], int | None]) -> int:
    """Call ``run`` and return its exit code. Print its error, if it raises one, with the program's name."""
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # print escapes on a terminal without UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _exit_code(name, run)
        finally:
            sys.stdout.flush()  # also after --help, which ends by SystemExit: only now is it seen that nobody reads
    except BrokenPipeError:
        # Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except OSError as error:  # of the last flush: a full disk
        print(f"{name}: standard output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _replace_closed_streams() -> None:
    """Replace standard streams that the caller has closed, which are None, by streams whose use is an OSError.

    Errors are dropped if standard error is closed: ``print`` would write them to standard output.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


def _exit_code(name: str, run: Callable[[], int | None]) -> int:
    """Call ``run`` and return its exit code, or that of its error, which is printed."""
    try:
        return run() or 0
    except BrokenPipeError:
        raise  # an OSError, but no fault of the input
    except UsageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return WRONG_COMMAND_LINE
    except ERRORS as error:
        print(f"{name}: {_message(error)}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        cure = cure_of_import(error)
        if cure is None:
            raise
        print(f"{name}: needs {cure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _message(error: Exception) -> str:
    """Return the error in the form of this project: the file first, without a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def plain(doc: str) -> str:
    """Return a docstring without the markup of ``code`` and :mod:`roles`, as a terminal shows it."""
    return ROLE.sub(r"\1", doc).replace("``", "")


def positive(text: str) -> int:
    """Parse a whole number of at least 1, as the ``type`` of an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


def _title(module: str) -> str:
    """Return the first line of a module's docstring without importing the module."""
    with open(ROOT / f"{module.replace('.', '/')}.py", encoding="utf-8") as file:
        return plain(file.readline().strip().strip('"')).removesuffix(".")
