"""Command lines: help, errors, exit codes and pipes, of a program made for the test and of every ``slam`` command."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.__main__ import CORPORA
from slam_plugin.commands.cli import COMMANDS, main
from slam_plugin.data.errors import DataError
from slam_plugin.program import Program, ProgramError, UsageError, positive

ROOT = Path(__file__).resolve().parent.parent
NAMES = [(name,) for group in COMMANDS.values() for name in group if name != "prepare"]
NAMES += [("prepare", name) for group in CORPORA.values() for name in group]
# Their modules import torch where they need it, so that help answers at once.
WITHOUT_TORCH = ["fetch", "vocab", "cluster", "transcribe", "translate", "normalize", "classify", "encode", "report"]
WITHOUT_TORCH += [
    "score",
    "doctor",
    "recipes",
    "import",
    "export",
    "check",
    "cuts",
    "ngram",
    "compare",
    "align",
    "serve",
]
PREPARED_WITHOUT_TORCH = ["own", "librispeech", "librilight", "covost2", "glue", "text-normalization", "english"]


def toy(run, **options):
    """Return the ``main`` of a program with one flag that is a count."""
    doc = "Count :func:`things`.\n\n    slam toy --count 3\n"
    return Program("slam toy", doc, lambda parser: parser.add_argument("--count", type=positive), run, **options)


def raising(error):
    def run(options):
        raise error

    return toy(run)


# ---- exit codes


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_code_is_what_the_program_returns(returned, code, capsys):
    assert toy(lambda options: returned)([]) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("a.tsv: line 3: found no id"), 1, "slam toy: a.tsv: line 3: found no id\n"),
        (ProgramError("espeak-ng: failed"), 1, "slam toy: espeak-ng: failed\n"),
        (FileNotFoundError(2, "No such file or directory", "a.tsv"), 1, "slam toy: a.tsv: No such file or directory\n"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1, None),
        (
            UsageError("found --count, expected --all beside it"),
            2,
            "slam toy: found --count, expected --all beside it\n",
        ),
        (KeyboardInterrupt(), 130, "slam toy: interrupted\n"),
    ],
)
def test_errors_are_one_line_on_standard_error(error, code, message, capsys):
    assert raising(error)([]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("slam toy: ") and err.count("\n") == 1
    assert message in (None, err)


def test_a_bug_is_no_error_of_the_input():
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "slam toy: error: argument --count: found 0, expected at least 1"),
        (["--number", "1"], "slam toy: error: unrecognized arguments: --number 1"),
    ],
)
def test_wrong_flags_end_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        toy(lambda options: None)(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: slam toy") and message in err


def test_a_program_may_pass_unknown_flags():
    seen = []
    run = toy(lambda options: seen.append((options.count, options.passed)), passes_flags=True)
    assert run(["--count", "2", "--beam", "5", "--cou", "7"]) == 0  # no abbreviations: --cou is another's flag
    assert seen == [(2, ["--beam", "5", "--cou", "7"])]


# ---- processes


CHILD = """
import sys, time
from slam_plugin.data.errors import DataError
from slam_plugin.program import Program

def count(options):
    for number in range(200_000):
        print(number)

def fail(options):
    print("0" * 100_000)
    raise DataError("a.tsv: is empty")

def wait(options):
    print("ready", flush=True)
    time.sleep(60)

def write(options):
    print("žluť 東京")
    raise DataError("東京.tsv: is empty")

sys.exit(Program("slam toy", __doc__ or "Count.", lambda parser: None, globals()[sys.argv[1]])([]))
"""


def started(*arguments, **options):
    """Start a Python process that finds this checkout, and that Ctrl-C reaches: a job in the background ignores it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **options.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, preexec_fn=_hear, **options
    )


def _hear():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_reader_that_stops_reading_ends_a_program_quietly():
    child = started("-c", CHILD, "count", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"0\n"
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 141


@pytest.mark.parametrize("command", [[], ["prepare"], ["recipes"], ["doctor", "--help"], ["cluster", "--help"]])
def test_no_reader_at_all(command):
    """All that is printed fits the buffer: only the last flush sees that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    child = started("-m", "slam_plugin.commands.cli", *command, stdout=writer)
    os.close(writer)
    assert child.stderr.read() == b""
    assert child.wait() == 141


def test_an_error_is_printed_even_if_nobody_reads_the_output():
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys\nsys.stdout.reconfigure(write_through=False)\n" + CHILD.replace(
        'print("0" * 100_000)', "print(0)"
    )
    child = started("-c", code, "fail", stdout=writer)
    os.close(writer)
    assert child.stderr.read() == b"slam toy: a.tsv: is empty\n"
    assert child.wait() == 141


SLAM = f"{sys.executable} -m slam_plugin.commands.cli"
NO_CHECKPOINT = "transcribe --checkpoint none.pt"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (f"{NO_CHECKPOINT} - <&-", "slam transcribe: standard input: Bad file descriptor\n"),
        ("recipes >&-", "slam recipes: standard output: Bad file descriptor\n"),
        ("doctor --help >&-", "slam doctor: standard output: Bad file descriptor\n"),
        ("recipes >/dev/full", "slam recipes: standard output: No space left on device\n"),
    ],
)
def test_a_standard_stream_that_is_closed_or_full_is_named(command, error):
    child = started("-c", f"import os; os.execvp('bash', ['bash', '-c', '{SLAM} {command}'])")
    assert child.stderr.read().decode() == error
    assert child.wait() == 1


def test_errors_do_not_become_output_if_standard_error_is_closed():
    child = started(
        "-c", f"import os; os.execvp('bash', ['bash', '-c', '{SLAM} check /none 2>&-'])", stdout=subprocess.PIPE
    )
    assert child.stdout.read() == b""
    assert child.wait() == 1


def test_ctrl_c_ends_a_program_with_130():
    child = started("-c", CHILD, "wait", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stderr.read() == b"slam toy: interrupted\n"
    assert child.wait() == 130


def test_a_terminal_without_utf_8_gets_escapes():
    child = started("-c", CHILD, "write", stdout=subprocess.PIPE, environment={"PYTHONIOENCODING": "ascii"})
    out, err = child.communicate()
    assert out == rb"\u017elu\u0165 \u6771\u4eac" + b"\n"
    assert err == rb"slam toy: \u6771\u4eac.tsv: is empty" + b"\n"
    assert child.returncode == 1


# ---- every command


HELPS = """
import io, sys
from slam_plugin.commands.cli import main
for words in {commands}:
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0, words
    assert not {{"torch", "fairseq"}} & set(sys.modules), words
"""


def test_lists_and_help_do_without_torch_and_utf_8():
    commands = [[], ["prepare"], ["recipes"], *([name, "--help"] for name in WITHOUT_TORCH)]
    commands += [["prepare", name, "--help"] for name in PREPARED_WITHOUT_TORCH]
    code = HELPS.format(commands=commands)
    child = started("-c", code, stdout=subprocess.PIPE, environment={"PYTHONIOENCODING": "ascii"})
    _, err = child.communicate()
    assert child.returncode == 0, err.decode()


@pytest.mark.parametrize("name", NAMES, ids=" ".join)
def test_help_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name, "--help"])
    assert end.value.code == 0
    out, err = capsys.readouterr()
    typed = re.escape(" ".join(("slam", *name)))
    assert err == "" and re.match(rf"usage: {typed} ", out)
    # The command and what comes after it, the usage aside; some need no arguments.
    assert re.search(rf"^ *{typed}( \S.*)?$", out, re.MULTILINE)
    assert "``" not in out and ":mod:`" not in out and ":func:`" not in out


@pytest.mark.parametrize(
    ("words", "menu", "prefix"),
    [([], COMMANDS, "slam"), (["prepare"], CORPORA, "slam prepare")],
    ids=["slam", "prepare"],
)
def test_a_menu_lists_each_name_once_with_what_it_is(words, menu, prefix, capsys):
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"usage: {prefix} ")
    listed = re.findall(r"^  (\S+)  +(\S.*)$", out, re.MULTILINE)
    assert [name for name, _ in listed] == [name for group in menu.values() for name in group]
    assert len({name for name, _ in listed}) == len(listed)
    assert all(purpose in out.splitlines() for purpose in menu)
    assert len(out.splitlines()) <= 45  # one screen
    for asked in ("--help", "-h"):
        assert main([*words, asked]) == 0
        assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transcibe", "a.wav"], "slam: there is no command 'transcibe'; did you mean transcribe?\n"),
        (["xyz"], "slam: there is no command 'xyz'; slam alone lists them\n"),
        (["prepare", "librispech"], "slam prepare: there is no corpus 'librispech'; did you mean librispeech?\n"),
        (["prepare", "xyz"], "slam prepare: there is no corpus 'xyz'; slam prepare alone lists them\n"),
    ],
)
def test_unknown_names_end_with_2_and_a_suggestion(words, message, capsys):
    assert main(words) == 2
    assert capsys.readouterr() == ("", message)
