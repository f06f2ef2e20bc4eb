"""Which warnings are given at which values."""

import numpy as np
import pytest

from slam_plugin.instruments.verdicts import CodebookWatch, DeadCodebookError, is_dead, warnings

GOOD = {
    "own": 0.87,
    "own_fresh": 0.96,
    "rank_front_end": 60.0,
    "rank_front_end_fresh": 140.0,
    "rank_speech": 50.0,
    "rank_speech_fresh": 140.0,
    "rank_top": 40.0,
    "rank_top_fresh": 140.0,
    "ctc_blanks": 0.7,
    "ctc_cer": 81.0,
    "ctc_progress": 0.9,
    "code_perplexity": 80.0,
    "codes_used": 0.6,
    "batch_code_perplexity": 1.0,  # of one batch: no codebook by itself
    "loss": 3.0,
}


def test_a_good_run_and_one_without_instruments_are_warned_of_nothing():
    assert warnings(GOOD) == [] == warnings({"loss": 3.0})


@pytest.mark.parametrize(
    ("bad", "good", "words"),
    [
        ({"own": 0.29}, {"own": 0.29, "ctc_cer": 79.0}, ["own is 0.29"]),  # CTC that recognizes reads neighbors
        ({"own": 0.29}, {"own": 0.3}, ["own is 0.29 (untrained: 0.96)", "Lower the learning rate"]),
        ({"rank_top": 13.9}, {"rank_top": 14.1}, ["states of the shared layers", "13.9 (untrained: 140.0)"]),
        ({"rank_speech": 1.2}, {"rank_speech": 14.1}, ["states of the speech encoder", "is 1.2"]),
        ({"rank_front_end": 1.0}, {"rank_front_end": 14.1}, ["states of the front end", "warm-up"]),
        ({"ctc_blanks": 0.995}, {"ctc_blanks": 0.98}, ["100 % of its states are blank after 90 %", "Raise its weight"]),
        ({"ctc_blanks": 1.0, "ctc_progress": 0.16}, {"ctc_blanks": 1.0, "ctc_progress": 0.14}, ["after 16 %"]),
        ({"code_perplexity": 3.9}, {"code_perplexity": 4.1}, ["codebook (code) is dead: perplexity 3.9", "diversity"]),
        ({"codes_used": 0.04}, {"codes_used": 0.06}, ["4 % of the codes in use"]),
    ],
)
def test_each_fault_has_its_own_warning_beyond_its_own_limit(bad, good, words):
    (found,) = warnings({**GOOD, **bad})
    assert all(word in found for word in words), found
    assert warnings({**GOOD, **good}) == []


def test_what_is_not_known_is_not_judged():
    alone = {"rank_top": 1.0, "ctc_blanks": 1.0, "code_perplexity": 1.0}
    assert warnings(alone) == []
    assert len(warnings({"own": 0.1})) == 1


def test_every_codebook_is_judged():
    values = {**GOOD, "best_rq_code_perplexity": 2.0, "best_rq_codes_used": 0.5}
    (found,) = warnings(values)
    assert "(best_rq_code)" in found


def test_few_frames_use_few_of_many_codes_and_are_no_fault():
    """Codes of 300 frames drawn evenly from 8,192: 3.6 % of the codes are used, all that these frames can reach."""
    codes, frames = 8192, 300
    used = len(set(np.random.default_rng(0).integers(codes, size=frames).tolist()))
    values = {**GOOD, "best_rq_code_perplexity": 0.98 * frames, "best_rq_codes_used": used / codes}
    assert len(warnings(values)) == 1
    reachable = 1 - (1 - 1 / codes) ** frames
    assert warnings({**values, "best_rq_codes_reachable": reachable}) == []
    (found,) = warnings({**values, "best_rq_codes_reachable": reachable, "best_rq_codes_used": 14 / codes})
    assert "(best_rq_code)" in found


@pytest.mark.parametrize(
    ("perplexity", "used", "dead"), [(3.9, 0.5, True), (4.1, 0.5, False), (50, 0.049, True), (50, 0.051, False)]
)
def test_a_codebook_is_dead_by_perplexity_or_by_use(perplexity, used, dead):
    assert is_dead(perplexity, used) == dead


DEAD, ALIVE = {"code_perplexity": 2.0, "codes_used": 0.5}, {"code_perplexity": 9.0, "codes_used": 0.5}


def test_a_codebook_that_is_dead_in_so_many_validations_in_a_row_ends_the_run():
    watch = CodebookWatch(3)
    for updates, values in enumerate([DEAD, DEAD, ALIVE, DEAD, DEAD]):
        watch.follow(values, updates)
        watch.follow(values, updates)  # another subset of the same validation
        watch.follow({"loss": 1.0}, updates)  # one that logs no codebook
    resumed = CodebookWatch(3)
    resumed.count = dict(watch.count)
    assert resumed.count == {"code": 2}
    with pytest.raises(DeadCodebookError, match=r"\(code\) is dead.* in 3 validations in a row, expected fewer than 3"):
        resumed.follow(DEAD, 9)


def test_without_a_limit_a_dead_codebook_ends_nothing():
    watch = CodebookWatch(0)
    for updates in range(20):
        watch.follow(DEAD, updates)


def test_each_of_two_codebooks_is_counted():
    both = {f"{name}_{key}": value for name in ("code", "rq_code") for key, value in (("perplexity", 2.0),)}
    both |= {"codes_used": 0.5, "rq_codes_used": 0.5}
    watch = CodebookWatch(3)
    for updates in range(2):
        watch.follow(both, updates)
    assert watch.count == {"code": 2, "rq_code": 2}
