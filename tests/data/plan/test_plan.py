from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import Corpora, CorpusConfig, Stage
from slam_plugin.data.plan.plan import Plan, Sweep, shares, whole_weights

KINDS = ("speech", "text", "pairs")


def make_corpora(mode="all", stages=((0, KINDS),), quota=(1, 1, 1), corpora=(("a", "speech", 1, 1.0),)):
    """Make a corpora file. ``corpora`` are (name, kind, number of shards, weight)."""
    named = {
        name: CorpusConfig(
            name, kind, tuple(Path(f"{name}{n}") for n in range(shards)), None, 9, 1, 9, weight, {"block": 2}
        )
        for name, kind, shards, weight in corpora
    }
    return Corpora(
        Path("corpora.yaml"),
        mode,
        tuple(Stage(start, tuple(kinds)) for start, kinds in stages),
        dict(zip(KINDS, quota, strict=True)),
        named,
        {},
    )


@st.composite
def worlds(draw):
    """Draw a corpora file, its plan, and the number of groups of every shard: {corpus: [groups]}."""
    present = draw(st.permutations(KINDS))[: draw(st.integers(1, 3))]
    corpora = []
    for kind in present:
        for _ in range(draw(st.integers(1, 3))):
            weight = draw(st.sampled_from([1.0, 0.7, 2.5, 0.1, 3.0]))
            corpora.append((f"c{len(corpora)}", kind, draw(st.integers(1, 3)), weight))
    starts = [0, *sorted(draw(st.sets(st.integers(1, 40), max_size=2)))]
    stages = [(start, draw(st.permutations(present))[: draw(st.integers(1, len(present)))]) for start in starts]
    quota = [draw(st.integers(1, 4)) for _ in KINDS]
    spec = make_corpora(draw(st.sampled_from(["all", "ratio"])), stages, quota, corpora)
    plan = Plan(spec, draw(st.integers(0, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 13)))
    groups = {name: [draw(st.integers(1, 6)) for _ in corpus.train] for name, corpus in spec.corpora.items()}
    return spec, plan, groups


def sizes_in(plan, groups, epoch):
    """Return the batch counts known to a process that holds only this epoch's shards."""
    return {name: counts[(epoch - 1) % len(counts)] * plan.world_size for name, counts in groups.items()}


def walk(plan, groups, steps):
    return [plan.draws(step, sizes_in(plan, groups, step // plan.steps_per_epoch + 1)) for step in range(steps)]


def naive_turns(weights, count):
    """Share turns by the reference: each member, in order, takes the free turns that bring it to its share."""
    members, left = list(range(len(weights))), list(range(count))
    turns = [None] * count
    while members:
        member, rest = members[0], sum(weights[other] for other in members)
        served = []
        for place, turn in enumerate(left):
            if (place + 1) * weights[member] + rest / 2 >= (len(served) + 1) * rest:
                served.append(turn)
                turns[turn] = member
        left = [turn for turn in left if turns[turn] is None]
        members.pop(0)
    return turns


@settings(max_examples=400, deadline=None)
@given(worlds(), st.integers(1, 60))
def test_plan_equals_a_simulation_that_appends_to_lists(world, steps):
    """The reference goes through the steps one by one, keeps the whole history, and counts in it."""
    spec, plan, groups = world
    actual = walk(plan, groups, steps)
    members = {kind: [c for c in spec.corpora.values() if c.kind == kind] for kind in KINDS}
    turns = {kind: naive_turns(whole_weights([c.weight for c in members[kind]]), 4 * steps) for kind in KINDS}
    history = {kind: [] for kind in KINDS}
    visits = {(name, shard): [] for name, corpus in spec.corpora.items() for shard in range(len(corpus.train))}
    for step in range(steps):
        stage = [stage for stage in spec.stages if stage.start <= step][-1]
        if spec.mode == "all":
            kinds = [kind for kind in stage.kinds for _ in range(spec.quota[kind])]
        else:
            schedule = naive_turns([spec.quota[kind] for kind in stage.kinds], step - stage.start + 1)
            kinds = [stage.kinds[schedule[-1]]]
        expected = []
        for kind in kinds:
            corpus = members[kind][turns[kind][len(history[kind])]]
            history[kind].append(corpus.name)
            shard = (step // plan.steps_per_epoch) % len(corpus.train)
            drawn = visits[corpus.name, shard]
            cycle = len(drawn) // groups[corpus.name][shard]
            drawn.append(actual[step][len(expected)].group)
            expected.append((kind, corpus.name, shard, cycle))
        assert [draw[:4] for draw in actual[step]] == expected
    for (name, shard), drawn in visits.items():
        count = groups[name][shard]
        for start in range(0, len(drawn), count):
            cycle = drawn[start : start + count]
            assert len(set(cycle)) == len(cycle) and set(cycle) <= set(range(count))
            if len(cycle) == count:
                assert set(cycle) == set(range(count))


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 10_000))
def test_a_step_depends_on_nothing_but_its_number(world, step):
    spec, plan, groups = world
    sizes = sizes_in(plan, groups, step // plan.steps_per_epoch + 1)
    expected = plan.draws(step, sizes)
    walk(plan, groups, 5)
    assert plan.draws(step, sizes) == expected
    fresh = Plan(spec, plan.seed, plan.world_size, plan.steps_per_epoch)
    assert fresh.draws(step, sizes) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 300))
def test_shares_are_smooth_and_each_turn_goes_to_one_member(weights, total):
    before, after = shares(total, weights), shares(total + 1, weights)
    assert sum(before) == total and sorted(b - a for a, b in zip(before, after, strict=True))[:-1] == [0] * (
        len(weights) - 1
    )
    assert shares(sum(weights) * 7, weights) == [7 * weight for weight in weights]
    ideal = [total * weight / sum(weights) for weight in weights]
    assert max(abs(share - part) for share, part in zip(before, ideal, strict=True)) <= len(weights) / 2


def test_weights_are_what_was_written():
    assert whole_weights([0.7, 0.3]) == [7, 3]
    assert whole_weights([1.0, 0.1, 2.5]) == [10, 1, 25]


def test_stage_may_begin_within_an_epoch_and_counts_go_on():
    corpora = [("a", "speech", 1, 1.0), ("p", "pairs", 1, 1.0)]
    spec = make_corpora(stages=[(0, ("speech",)), (5, ("speech", "pairs"))], quota=(1, 1, 2), corpora=corpora)
    plan = Plan(spec, 1, 1, 4)
    steps = walk(plan, {"a": [100], "p": [4]}, 9)
    assert [[draw.kind for draw in draws] for draws in steps] == [["speech"]] * 5 + [["speech", "pairs", "pairs"]] * 4
    assert [draw.cycle for draws in steps for draw in draws if draw.kind == "pairs"] == [0] * 4 + [1] * 4


def test_ratio_spreads_kinds_evenly():
    corpora = [("a", "speech", 1, 1.0), ("t", "text", 1, 1.0)]
    spec = make_corpora("ratio", [(0, ("speech", "text"))], (3, 1, 1), corpora)
    kinds = [draw.kind for draws in walk(Plan(spec, 1, 2, 100), {"a": [9], "t": [9]}, 8) for draw in draws]
    assert kinds == ["speech", "speech", "text", "speech"] * 2 or kinds == ["speech", "text", "speech", "speech"] * 2


def test_order_depends_on_seed_corpus_shard_and_cycle():
    corpora = [("a", "speech", 2, 1.0), ("b", "text", 2, 1.0)]
    orders = set()
    for seed in (1, 2):
        plan = Plan(make_corpora(stages=[(0, ("speech", "text"))], corpora=corpora), seed, 1, 60)
        draws = [draw for step in walk(plan, {"a": [30, 30], "b": [30, 30]}, 120) for draw in step]
        for key in {(draw.corpus, draw.shard, draw.cycle) for draw in draws}:
            orders.add(tuple(draw.group for draw in draws if draw[1:4] == key))
    assert len(orders) == 16 and all(sorted(order) == list(range(30)) for order in orders)


@pytest.mark.parametrize(
    "batches, message", [(3, "'a' has 3 batches, fewer than the 4 ranks"), (6, "'a' has 6 batches")]
)
def test_broken_groups_are_refused_by_name(batches, message):
    plan = Plan(make_corpora(stages=[(0, ("speech",))]), 1, 4, 10)
    with pytest.raises(DataError, match=message):
        plan.draws(0, {"a": batches})


def test_an_epoch_has_steps():
    with pytest.raises(DataError, match="0 plan steps"):
        Plan(make_corpora(), 1, 1, 0)


def test_sweep_takes_every_group_once_in_every_epoch():
    spec = make_corpora(corpora=[("a", "speech", 2, 1.0), ("b", "text", 1, 1.0), ("c", "text", 1, 1.0)])
    sizes = {"a": 6, "c": 4}
    sweep = Sweep(spec, sizes, 2)
    assert sweep.steps_per_epoch == 5 and sweep.first_step(3) == 0 and sweep.shard("a", 2) == 0
    draws = [sweep.draws(step, sizes) for step in range(5)]
    assert [len(draw) for draw in draws] == [1] * 5
    assert Counter(draw[0][:5] for draw in draws) == Counter(
        [("speech", "a", 0, 0, group) for group in range(3)] + [("text", "c", 0, 0, group) for group in range(2)]
    )
    with pytest.raises(DataError, match="no corpus names validation data"):
        Sweep(spec, {}, 2)


def test_fingerprint_is_plain_and_says_everything():
    spec = make_corpora(stages=[(0, ("speech",)), (7, ("speech",))], corpora=[("a", "speech", 2, 0.5)])
    fingerprint = Plan(spec, 3, 2, 10).fingerprint({"a": ["x", "y"]}, {"a": 8}, epoch=2)
    assert fingerprint == {
        "world_size": 2,
        "seed": 3,
        "steps_per_epoch": 10,
        "mode": "all",
        "stages": {"0": ["speech"], "7": ["speech"]},
        "quota": {"speech": 1, "text": 1, "pairs": 1},
        "corpora": {
            "a": {
                "kind": "speech",
                "weight": 0.5,
                "budget": 9,
                "min_length": 1,
                "max_length": 9,
                "options": {"block": 2},
                "hashes": ["x", "y"],
            }
        },
        "batches": {"a[1]": 8},
    }
    with pytest.raises(ValueError, match="1 hashes for the 2 shards of corpus 'a'"):
        Plan(spec, 3, 2, 10).fingerprint({"a": ["x"]}, {"a": 8}, epoch=2)
