"""What the gate measures, against a plain loop; and what it calls worse, with bundles whose vectors are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from model_data import START_US, history_model, interactions, planted, small_model
from night_bundles import given_bundle

from recbatch.config.models import Model
from recbatch.errors import InputError
from recbatch.model import TrainingData, load_bundle, load_tower
from recbatch.model.data import Prepared, prepare
from recbatch.model.gate import Questions
from recbatch.model.heldout import Split, id_hashes, split_events, unseen_by
from recbatch.model.profiles import user_profiles
from recbatch.model.ranking import NDCG, RECALL_10, RECALL_100
from recbatch.splits import heldout_by_hash

RANDOM = {"heldout": {"split": "random", "share": 0.2}}


@pytest.fixture(scope="module")
def world() -> tuple[Prepared, Split]:
    prepared = prepare(planted())
    return prepared, split_events(small_model(RANDOM), prepared)


def ids(prepared: Prepared, entity: str) -> list[str]:
    return list((prepared.users if entity == "user" else prepared.items)["id"].to_pylist())


def bundle_of(folder: Path, prepared: Prepared, noise: float, unknown: tuple[str, ...] = ()) -> str:
    """Users near their taste: even ones like even items; the more noise, the worse."""
    random = np.random.default_rng(8)
    sides = []
    for entity in ("user", "item"):
        names = [name for name in ids(prepared, entity) if name not in unknown]
        even = np.array([int(name[5:]) % 2 == 0 for name in names])
        vectors = np.stack([even, ~even], axis=1) + noise * random.normal(size=(len(names), 2))
        sides.append(dict(zip(names, vectors.astype(np.float32), strict=True)))
    return str(given_bundle(folder, sides[0], sides[1]))


def ndcg_by_hand(prepared: Prepared, split: Split, bundle: str) -> tuple[float, float]:
    users, known_users = load_tower(bundle, "query").embed(prepared.users)
    items, known_items = load_tower(bundle, "candidate").embed(prepared.items)
    events, gains, hits, targets = prepared.events, [], 0, 0
    for user in range(prepared.users.num_rows):
        mine = events.users == user
        seen = set(events.items[mine & ~split.heldout].tolist())
        wanted = set(events.items[mine & split.heldout].tolist()) - seen
        if not wanted or not seen:
            continue
        ranking = [
            item
            for item in np.argsort(-(items @ users[user]), kind="stable")
            if known_items[item] and item not in seen and known_users[user]
        ]
        places = [ranking.index(item) for item in wanted if item in ranking]
        ideal = sum(1 / np.log2(place + 2) for place in range(min(10, len(wanted))))
        gains.append(sum(1 / np.log2(place + 2) for place in places if place < 10) / ideal)
        hits, targets = hits + sum(place < 100 for place in places), targets + len(wanted)
    return float(np.mean(gains)), hits / targets


@pytest.mark.heavy
def test_the_figures_are_those_of_a_plain_loop(world: tuple[Prepared, Split], tmp_path: Path) -> None:
    prepared, split = world
    bundle = bundle_of(tmp_path / "b", prepared, 0.5, unknown=("user 3", "user 8", "item/5", "item/12"))
    questions = Questions(small_model(RANDOM), prepared, split)
    asked = np.ones(len(questions.places), bool)
    found = questions.quality(questions.ask_bundle(load_bundle(bundle)), asked)
    assert (found[NDCG], found[RECALL_100]) == pytest.approx(ndcg_by_hand(prepared, split, bundle))


@pytest.mark.heavy
def test_worse_is_below_the_tolerance_only(world: tuple[Prepared, Split], tmp_path: Path) -> None:
    prepared, split = world
    questions = Questions(small_model(RANDOM), prepared, split)
    good, bad = (
        questions.ask_bundle(load_bundle(bundle_of(tmp_path / str(noise), prepared, noise))) for noise in (0.1, 2.0)
    )
    popular = questions.ask_popularity()
    assert questions.compare(bad, good, 0.02)["worse"]
    assert not questions.compare(good, bad, 0.0)["worse"]
    assert not questions.compare(good, good, 0.0)["worse"]
    assert not questions.compare(good, popular, 0.02)["worse"]
    found = questions.compare(bad, good, 0.0)
    ratio = found["new"][RECALL_10] / found["other"][RECALL_10]
    assert ratio < 0.9
    assert questions.compare(bad, good, 1 - ratio - 1e-9)["worse"]
    assert not questions.compare(bad, good, 1 - ratio + 1e-9)["worse"]
    some = np.zeros(len(questions.places), bool)
    some[:5] = True
    assert questions.compare(bad, good, 0.0, some)["targets"] == 5


def test_what_decides_is_what_early_stopping_goes_by() -> None:
    def criterion(items: int, **training: object) -> str:
        names = [f"item/{item}" for item in range(items)] * 2
        users = [f"user {number % 50}" for number in range(len(names))]
        prepared = prepare(TrainingData(interactions(users, names)))
        model = small_model(RANDOM | training)
        return Questions(model, prepared, split_events(model, prepared)).criterion

    assert criterion(900) == RECALL_10  # of so few, a hundred are a large part
    assert criterion(1500) == criterion(1500, early_stopping=None) == RECALL_100
    assert criterion(1500, early_stopping={"metric": "ndcg_at_10"}) == criterion(
        90, early_stopping={"metric": "ndcg_at_10"}
    )


@pytest.mark.heavy
def test_popularity_wins_where_all_like_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    users, items = [], []
    for user in range(60):
        chosen = {*(random.geometric(0.08, 15) % 40).tolist()}
        users += [f"user {user}"] * len(chosen)
        items += [f"item/{item}" for item in chosen]
    prepared = prepare(TrainingData(interactions(users, items)))
    questions = Questions(small_model(RANDOM), prepared, split_events(small_model(RANDOM), prepared))
    popular = questions.ask_popularity()
    counts = np.bincount(prepared.events.items)
    assert questions.compare(
        questions.ask_bundle(load_bundle(bundle_of(tmp_path / "b", prepared, 1.0))), popular, 0.02
    )["worse"]
    assert questions.quality(popular, np.ones(len(questions.places), bool))[NDCG] > 0.15
    assert counts.max() > 20


@pytest.mark.heavy
def test_towers_of_other_entities_are_no_answer(world: tuple[Prepared, Split], tmp_path: Path) -> None:
    prepared, split = world
    bundle = load_bundle(bundle_of(tmp_path / "b", prepared, 0.5))
    bundle.manifest["towers"]["query"]["entity"] = "item"
    with pytest.raises(InputError, match="its towers embed items and items"):
        Questions(small_model(RANDOM), prepared, split).ask_bundle(bundle)


def test_profiles_know_the_training_split_alone(world: tuple[Prepared, Split]) -> None:
    prepared, split = world
    train = prepared.events.select(~split.heldout)
    users = np.array([3, 17, 40])
    rows = user_profiles(prepared, train, users).to_pylist()
    items = ids(prepared, "item")
    assert train.times_us is not None
    for user, row in zip(users, rows, strict=True):
        mine = train.users == user
        assert row["id"] == ids(prepared, "user")[user]
        assert row["history"] == [items[item] for item in train.items[mine]]
        assert row["history_timestamps"] == train.times_us[mine].tolist() == sorted(row["history_timestamps"])
        known = [value for value in train.context["context:device"].filter(pa.array(mine)).to_pylist() if value]
        assert row["context:device"] == (known[-1] if known else None)


# --- the split ------------------------------------------------------------------------------------------------------


def heldout_pairs(model: Model, data: TrainingData) -> set[tuple[str, str]]:
    prepared = prepare(data)
    mask, events = split_events(model, prepared).heldout, prepared.events
    users, items = ids(prepared, "user"), ids(prepared, "item")
    return {(users[u], items[i]) for u, i in zip(events.users[mask], events.items[mask], strict=True)}


def test_what_is_held_out_stays_so_while_the_data_grow() -> None:
    table = planted().interactions
    random = np.random.default_rng(0)
    early = table.filter(pa.array(random.random(table.num_rows) < 0.7))
    before, after = (heldout_pairs(small_model(RANDOM), TrainingData(part)) for part in (early, table))
    shuffled = table.take(pa.array(random.permutation(table.num_rows)))
    assert heldout_pairs(small_model(RANDOM), TrainingData(shuffled)) == after
    assert before <= after
    there = set(zip(early["user_id"].to_pylist(), early["item_id"].to_pylist(), strict=True))
    assert len((after - before) & there) <= 1  # one that a user kept as the only one
    assert len(after) == pytest.approx(0.2 * len(set(zip(*table.columns[:2], strict=True))), rel=0.25)
    assert heldout_pairs(small_model(RANDOM | {"seed": 1}), TrainingData(table)) != after


def test_the_hash_split_keeps_an_event_of_everybody_and_holds_out_the_share() -> None:
    random = np.random.default_rng(1)
    users = np.sort(random.integers(0, 3000, 60_000)).astype(np.int32)
    names = random.integers(0, 2**63, len(users)).astype(np.uint64)
    mask = heldout_by_hash(users, names, 0.1, 3)
    assert set(users[~mask].tolist()) == set(users.tolist())
    assert mask.mean() == pytest.approx(0.1, abs=0.005)
    assert not heldout_by_hash(np.arange(500), names[:500], 0.9, 3).any()
    assert heldout_by_hash(np.zeros(1000, int), names[:1000], 0.9, 3).sum() > 850
    assert not len(heldout_by_hash(users[:0], names[:0], 0.1, 3))


def test_ids_are_told_apart_and_numbered_alike_wherever_they_stand() -> None:
    texts = ["", "a", "b", "ab", "ba", "a\0", "🦊", "x" * 5000, *map(str, range(70_000))]
    hashes = id_hashes(pa.array(texts))
    assert len(set(hashes.tolist())) == len(texts)
    np.testing.assert_array_equal(hashes[3:9], id_hashes(pa.array(["zzz", *texts]).slice(4, 6)))
    assert hashes[1] == id_hashes(pa.chunked_array([["a"]]))[0]
    assert hashes[1].item() == 0xD24F6E94B7B23DEF  # another number would be another split on another day


def events_of(prepared: Prepared, mask: np.ndarray) -> set[tuple[str, str, int]]:
    users, items, events = ids(prepared, "user"), ids(prepared, "item"), prepared.events.select(mask)
    times = np.zeros(len(events), np.int64) if events.times_us is None else events.times_us
    return {(users[u], items[i], t) for u, i, t in zip(events.users, events.items, times.tolist(), strict=True)}


@pytest.mark.parametrize("timestamps", [True, False])
def test_a_bundle_has_not_seen_what_its_own_rule_held_out(timestamps: bool) -> None:
    data = planted(timestamps=timestamps)
    table = data.interactions
    last = START_US + 30 * 86_400_000_000
    early = table.filter(pa.array(np.asarray(table["timestamp"]) <= last)) if timestamps else table.slice(0, 600)
    then, now = prepare(TrainingData(early)), prepare(data)
    for model in (small_model(RANDOM), history_model(training={"heldout": {"split": "time", "share": 0.2}})):
        split = split_events(model, then)
        times = then.events.times_us
        manifest = {"heldout_rule": split.rule, "last_event_us": None if times is None else int(times.max())}
        unseen = unseen_by(manifest, now)
        fitted, asked = (events_of(part, mask) for part, mask in ((then, ~split.heldout), (now, unseen)))
        assert len(asked) > (100 if timestamps else 50)
        # Without times a user's only item may be held out when there is another.
        assert len(fitted & asked) <= (0 if timestamps else 1)
    nothing = unseen_by({"heldout_rule": None, "last_event_us": None}, now)
    assert not nothing.any()
