"""The runner of steps: order, skipping, parallel steps, failures, and a runner that is killed in the middle."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.slam import locking, steps

ROOT = Path(__file__).resolve().parent.parent
Step, run_steps = steps.Step, steps.run_steps

# Appends a line to counts.txt every 50 ms up to 20, resumes from what is there, and writes done.txt at the end.
WORKER = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
counts = folder / "counts.txt"
done = len(counts.read_text().split()) if counts.exists() else 0
print("starting at", done)
for i in range(done, 20):
    with open(counts, "a") as stream:
        stream.write(f"{i}\\n")
    print('{"epoch": 1, "update": 0.1, "num_updates": "%d"}' % (i + 1))
    time.sleep(0.05)
(folder / "done.txt").write_text("done")
"""

RUNNER = """
import sys
from pathlib import Path
from examples.slam.steps import Step, run_steps
folder = Path(sys.argv[1])
worker = [sys.executable, str(folder / "worker.py"), str(folder)]
run_steps([Step("count", worker, outputs=[folder / "done.txt"])], folder / "logs")
"""


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def until(condition, seconds=20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def runner(folder: Path) -> subprocess.Popen:
    (folder / "worker.py").write_text(WORKER)
    (folder / "runner.py").write_text(RUNNER)
    return subprocess.Popen(
        [sys.executable, str(folder / "runner.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def counts(folder: Path) -> list[int]:
    path = folder / "counts.txt"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_steps_run_in_order_and_are_skipped_when_done(tmp_path, capfd):
    plan = [Step(name, shell(f"echo {name} >> {tmp_path}/order; echo said {name}")) for name in ("one", "two", "three")]
    seconds = run_steps(plan, tmp_path / "logs")
    assert (tmp_path / "order").read_text().split() == ["one", "two", "three"]
    assert "said two" in (tmp_path / "logs" / "two.log").read_text()
    assert list(seconds) == ["one", "two", "three"] and "said" not in capfd.readouterr().out
    assert run_steps(plan, tmp_path / "logs") == seconds == steps.seconds_of(tmp_path / "logs")
    assert (tmp_path / "order").read_text().split() == ["one", "two", "three"]
    assert "[2/3] two: done before" in capfd.readouterr().out


def test_a_missing_output_runs_the_step_again(tmp_path):
    output = tmp_path / "output"
    plan = [Step("make", shell(f"echo run >> {tmp_path}/runs; touch {output}"), outputs=[output])]
    run_steps(plan, tmp_path / "logs")
    output.unlink()
    run_steps(plan, tmp_path / "logs")
    assert (tmp_path / "runs").read_text().split() == ["run", "run"] and output.exists()


def test_a_changed_command_reruns_it_and_what_follows_from_nothing(tmp_path):
    def plan(word):
        train = f"mkdir -p {tmp_path}/ck; echo {word} >> {tmp_path}/ck/state"
        return [
            Step("before", shell(f"echo before >> {tmp_path}/order")),
            Step("train", shell(train), resumes_from=[tmp_path / "ck"]),
            Step("after", shell(f"echo after >> {tmp_path}/order")),
        ]

    run_steps(plan("old"), tmp_path / "logs")
    run_steps(plan("new"), tmp_path / "logs")
    assert (tmp_path / "order").read_text().split() == ["before", "after", "after"]
    assert (tmp_path / "ck" / "state").read_text() == "new\n"
    assert "old" not in (tmp_path / "logs" / "train.log").read_text()


def test_a_step_runs_again_if_what_it_depends_on_changed(tmp_path):
    for content in ("old", "old", "new"):
        command = shell(f'echo "run$FILES" >> {tmp_path}/runs')
        run_steps([Step("read", command, depends_on={"FILES": content})], tmp_path / "logs")
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]


def _note(path: Path, word: str) -> None:
    print("noting", word)
    path.write_text(word)


def test_callables_run_in_a_process_of_their_own_and_rerun_when_their_arguments_change(tmp_path):
    output = tmp_path / "note"
    run_steps([Step("note", functools.partial(_note, output, "first"))], tmp_path / "logs")
    assert output.read_text() == "first" and "noting first" in (tmp_path / "logs" / "note.log").read_text()
    run_steps([Step("note", functools.partial(_note, output, "second"))], tmp_path / "logs")
    assert output.read_text() == "second"


def _fail() -> None:
    raise ValueError("the reason")


def test_a_failing_callable_shows_its_traceback(tmp_path):
    with pytest.raises(SystemExit, match="ValueError: the reason"):
        run_steps([Step("fail", _fail)], tmp_path / "logs")


def test_parallel_steps_overlap_and_each_gets_its_environment(tmp_path):
    # each waits for the other's file: one after the other would never end
    def meet(mine, other):
        text = f"echo $TWIN > {tmp_path}/{mine}; while [ ! -e {tmp_path}/{other} ]; do sleep 0.05; done"
        return Step(mine, shell(text), environment={"TWIN": mine})

    seconds = run_steps([[meet("a", "b"), meet("b", "a")], Step("last", shell("true"))], tmp_path / "logs")
    assert (tmp_path / "a").read_text() == "a\n" and (tmp_path / "b").read_text() == "b\n"
    assert set(seconds) == {"a", "b", "last"}


def test_a_failure_shows_the_end_of_the_log_and_stops_its_twin(tmp_path):
    bad = Step("bad", shell("sleep 0.3; seq 1 50; echo broken >&2; exit 3"))
    twin = Step("twin", shell(f"sleep 60; touch {tmp_path}/never"))
    later = Step("later", shell(f"touch {tmp_path}/later"))
    start = time.monotonic()
    with pytest.raises(SystemExit) as failure:
        run_steps([[bad, twin], later], tmp_path / "logs")
    message = str(failure.value.code)
    assert time.monotonic() - start < 20 and not (tmp_path / "later").exists()
    assert "bad failed: exit status 3" in message and str(tmp_path / "logs" / "bad.log") in message
    assert message.splitlines()[1:] == [f"  {n}" for n in range(32, 51)] + ["  broken"]
    known = json.loads((tmp_path / "logs" / "steps.json").read_text())
    assert not known["bad"]["done"] and not known["twin"]["done"]


def test_failures_without_an_exit_status_are_named(tmp_path):
    with pytest.raises(SystemExit, match="killed by SIGKILL"):
        run_steps([Step("killed", shell("kill -9 $$"))], tmp_path / "logs")
    with pytest.raises(SystemExit, match="ended without writing .*absent"):
        run_steps([Step("idle", ["true"], outputs=[tmp_path / "absent"])], tmp_path / "logs")
    with pytest.raises(SystemExit, match="cannot start no-such-command"):
        run_steps([Step("typo", ["no-such-command"])], tmp_path / "logs")
    with pytest.raises(ValueError, match="different names"):
        run_steps([Step("x", ["true"]), Step("x", ["true"])], tmp_path / "logs")


def test_a_runner_killed_with_sigkill_takes_its_step_along_and_the_next_run_goes_on(tmp_path):
    first = runner(tmp_path)
    until(lambda: len(counts(tmp_path)) >= 3)
    time.sleep(0.1)
    first.kill()
    first.wait()
    time.sleep(0.2)
    stopped_at = len(counts(tmp_path))
    time.sleep(0.3)
    assert len(counts(tmp_path)) == stopped_at < 20  # no orphan goes on counting

    second = runner(tmp_path)
    output, _ = second.communicate(timeout=30)
    assert second.returncode == 0, output
    assert counts(tmp_path) == list(range(20))  # nothing twice, nothing left out
    log = (tmp_path / "logs" / "count.log").read_text()
    assert "starting at 0" in log and f"starting at {stopped_at}" in log

    third, _ = runner(tmp_path).communicate(timeout=30)
    assert "count: done before" in third


def test_wall_time_adds_up_over_attempts(tmp_path):
    flag = tmp_path / "flag"
    plan = [Step("twice", shell(f"sleep 0.5; test -e {flag} || {{ touch {flag}; exit 1; }}"))]
    with pytest.raises(SystemExit):
        run_steps(plan, tmp_path / "logs")
    first = steps.seconds_of(tmp_path / "logs")["twice"]
    assert run_steps(plan, tmp_path / "logs")["twice"] >= first + 0.5 >= 1.0


BUSY = "import time; [0 for _ in iter(lambda: time.process_time() < {}, False)]"


def test_cpu_time_is_that_of_the_step_and_its_children_and_adds_up(tmp_path):
    flag, busy = tmp_path / "flag", f"{sys.executable} -c '{BUSY.format(0.3)}'"
    plan = [Step("twice", shell(f"{busy}; sleep 0.3; test -e {flag} || {{ touch {flag}; exit 1; }}"))]
    with pytest.raises(SystemExit):
        run_steps(plan, tmp_path / "logs")
    first = steps.cpu_seconds_of(tmp_path / "logs")["twice"]
    wall = run_steps(plan, tmp_path / "logs")["twice"]
    both = steps.cpu_seconds_of(tmp_path / "logs")["twice"]
    assert first >= 0.3 and both >= first + 0.3
    assert both <= wall - 0.5  # nobody computes while it sleeps


def test_cpu_time_of_a_step_that_was_interrupted_counts(tmp_path):
    work = shell(f"touch {tmp_path}/begun; exec {sys.executable} -c '{BUSY.format(60)}'")
    plan = f"run_steps([Step('busy', {work!r})], '{tmp_path}/logs')"
    script = f"from examples.slam.steps import Step, run_steps\n{plan}"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path / "begun").exists())
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert steps.cpu_seconds_of(tmp_path / "logs")["busy"] > 0


def test_a_folder_of_before_has_no_cpu_time(tmp_path):
    run_steps([Step("old", ["true"])], tmp_path)
    known = json.loads((tmp_path / "steps.json").read_text())
    del known["old"]["cpu_seconds"]
    (tmp_path / "steps.json").write_text(json.dumps(known))
    run_steps([Step("old", ["true"])], tmp_path)
    assert steps.cpu_seconds_of(tmp_path) == {"old": 0.0}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_runner_stops_its_step_and_keeps_its_state(tmp_path, sign):
    process = runner(tmp_path)
    until(lambda: len(counts(tmp_path)) >= 3)
    process.send_signal(sign)
    output, _ = process.communicate(timeout=30)
    stopped_at = len(counts(tmp_path))
    time.sleep(0.2)
    assert len(counts(tmp_path)) == stopped_at < 20
    assert process.returncode == 128 + sign and f"stopped by {sign.name}" in output and "Traceback" not in output
    assert steps.seconds_of(tmp_path / "logs")["count"] > 0


def test_an_interrupted_runner_waits_for_a_training_to_save(tmp_path):
    saves = f"sleep 7; echo saved > {tmp_path}/saved; exit 75"
    work = shell(f"trap '{saves}' TERM; touch {tmp_path}/begun; while true; do sleep 0.05; done")
    script = f"from examples.slam.steps import Step, run_steps\nrun_steps([Step('train', {work!r})], '{tmp_path}/logs')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    until(lambda: (tmp_path / "begun").exists())
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (tmp_path / "saved").exists() and "ending train: a training saves first" in output


def test_a_training_that_a_signal_stopped_is_said_to_have_saved(tmp_path):
    with pytest.raises(SystemExit, match="train failed: a signal stopped it, and it has saved; run the same command"):
        run_steps([Step("train", shell("exit 75"))], tmp_path)


def test_two_runners_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "LOCK_SECONDS", 0.3)
    first = runner(tmp_path)
    until(lambda: len(counts(tmp_path)) >= 1)
    with pytest.raises(SystemExit, match="another run is using"):
        run_steps([Step("other", ["true"])], tmp_path / "logs")
    first.kill()
    first.communicate()


def test_an_orphan_keeps_the_lock_until_it_ends(tmp_path, monkeypatch):
    # a grandchild is out of the death signal's reach; the descriptor that it inherited still locks the folder
    monkeypatch.setattr(locking, "LOCK_SECONDS", 0.3)
    run_steps([Step("leaves", shell("sleep 1.5 &"))], tmp_path / "logs")
    with pytest.raises(SystemExit, match="another run is using"):
        run_steps([Step("next", ["true"])], tmp_path / "logs")
    monkeypatch.setattr(locking, "LOCK_SECONDS", 10.0)
    run_steps([Step("next", ["true"])], tmp_path / "logs")


@pytest.mark.parametrize(
    ("run", "text", "expected"),
    [
        (["fairseq-train", "--max-update", "200"], '| train_inner | {"epoch": 1, "num_updates": "50"}', (50, 200)),
        (["fairseq-train", "--max-update", "200"], "loading 3/9 shards\n", (None, 200)),
        (["prepare"], "\r 10%|#   | 34/340 [00:01<00:09]\r 20%|##  | 68/340 [00:02<00:08]", (68, 340)),
        (["fairseq-generate"], "2026-11-22 | INFO | progress_bar | :     12 / 30 wps=80", (12, 30)),
        (["prepare"], "wrote a/1/2 and 2026/11/22, half of 5/4 \n", (None, None)),
    ],
)
def test_progress_is_read_off_the_log_of_this_attempt(tmp_path, run, text, expected):
    log = tmp_path / "x.log"
    earlier = '{"num_updates": "199"} 339/340 [\n'
    log.write_text(earlier + text)
    assert steps._last_progress(log, len(earlier), run) == expected


def test_time_left_follows_the_rate_of_this_attempt(tmp_path, monkeypatch):
    log = tmp_path / "x.log"
    log.write_text("")
    now = [100.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: now[0])
    work = steps._Running(Step("train", ["t", "--max-update", "200"]), 0, log, 0, spent_before=60.0, cpu_before=0.0)
    now[0] = 110.0
    assert work.progress() == "train 1:10"
    log.write_text('{"num_updates": "100"}')  # resumed there: the first hundred are no work of this attempt
    assert work.progress() == "train 50 % 0:10"
    now[0] = 120.0
    log.write_text('{"num_updates": "120"}')
    assert work.progress() == "train 60 % 0:40 left"


def test_a_long_step_shows_its_progress(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(steps, "PLAIN_LINE_SECONDS", 0.1)
    run = shell('for i in 1 2 3 4 5 6 7 8; do echo "INFO:fairseq:    $i / 8 wps=0"; sleep 0.15; done')
    run_steps([Step("decode", run)], tmp_path / "logs")
    assert "% 0:0" in capfd.readouterr().out
