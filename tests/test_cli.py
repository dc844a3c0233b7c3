"""The contract of the command line: exit codes, sentences, what is made and what is left alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from robust_nights import SETTINGS, Inputs, command, error_of, make_inputs, marks, robust_world
from typer.main import get_command
from world import DS, Published

from recbatch.cli.main import app, main
from recbatch.launch.nightly import nightly as launch_nightly
from recbatch.model.bundle import MANIFEST, read_manifest
from recbatch.tables.pointer import published_dates, require_pointer

DAY_US = 86_400_000_000
COMMANDS: dict[str, typer.core.TyperCommand] = get_command(app).commands  # type: ignore[attr-defined]


def days_world() -> Any:
    """Events on the date and on the four days before."""
    world = robust_world()
    for number, event in enumerate(world.interactions):
        event["at"] -= number % 5 * DAY_US // 1000
    return world


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    settings = SETTINGS | {"run": {"range_ids": 1000}}
    return make_inputs(tmp_path_factory.mktemp("cli"), days_world(), settings)


@pytest.fixture(scope="module")
def published(inputs: Inputs) -> Path:
    assert command(inputs.words(inputs.folder / "published"))[0] == 0
    return inputs.folder / "published"


# --- exit codes and sentences -----------------------------------------------------------------------------------------


def test_published_then_nothing_to_do_then_forced(
    inputs: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    with caplog.at_level("INFO"):
        assert command(inputs.words(output))[0] == 0
        assert "published user2item, item2item\n" in caplog.text
        assert str(output / "user2item" / f"ds={DS}") in caplog.text
        first, before = require_pointer(str(output), DS), marks(output)
        caplog.clear()
        assert command(inputs.words(output))[0] == 0
        assert f"{DS}: nothing to do, {output} is published as run {first.run}" in caplog.text
    assert marks(output) == before
    assert require_pointer(str(output), DS) == first
    for run in ("2", "3"):
        assert command(inputs.words(output, "--force"))[0] == 0
        assert require_pointer(str(output), DS).run == f"{first.run}-{run}"
    assert require_pointer(str(output), DS).previous == (f"{first.run}-2", first.run)
    assert command(inputs.words(output))[0] == 0
    assert require_pointer(str(output), DS).run == f"{first.run}-3", "a forced night is the same night"


WRONG = [
    ("nightli", "No such command 'nightli'. Did you mean 'nightly'?"),
    ("nightly {config} --output {out}", "Missing option '--ds'."),
    ("nightly --output {out} --ds {ds}", "Missing argument 'CONFIG'."),
    ("nightly --output {out} --ds {ds} -- --runner=DirectRunner", "CONFIG is missing"),
    ("nightly {config} --output {out} --ds", "--ds has no value; write --ds=VALUE"),
    ("nightly {config} {config} --output {out} --ds {ds}", "one configuration too many"),
    ("nightly {config} --output {out} --ds 2024-02-30", "--ds: '2024-02-30' is not a date; write it as YYYY-MM-DD"),
    (
        "nightly {config} --output {out} --ds 20240309",
        "--ds: '20240309' is not written .*; write 2024-03-09",
    ),
    ("nightly {config} --outptu {out} --ds {ds}", "'--outptu' is not an option .*; did you mean --output?"),
    ("nightly {config} --output {out} --ds {ds} --runer=x", "'--runer=x' is not an option .*; did you mean --runner?"),
    ("nightly {config} --output {out} --ds {ds} -- --runer x", "'--runer' is not an option .*; did you mean --runner?"),
    ("nightly {config} --output {out} --ds {ds} -- --runner=x", "--runner=x: .*DataflowRunner"),
    ("nightly {config}.yml --output {out} --ds {ds}", "config.yaml.yml: there is no such file; did you mean {config}?"),
    ("nightly {config} --output {inputs}/events --ds {ds}", "inputs.interactions.path .*read what nights write"),
    ("nightly {config} --output {out} --ds {ds} --set=tables.user2item.k=0", "tables.user2item.k.*0.*greater than 0"),
    ("nightly {config} --output {out} --ds {ds} --set tables.user3item.k=5", "tables.user3item.*user2item"),
    ("nightly {config} --output {out} --ds {ds} --set inputs.users.path=no.parquet", "inputs.users.path.*no.parquet"),
    ("recommend {config} --model {out} --output {out} --ds {ds}", "--model: {out} is not a model bundle"),
    ("train {config} --model {inputs}/events", "inputs.interactions.path .*read what nights write"),
    ("train {config} --model {published}", "--model: {published} holds something else than a model"),
    (
        "train {config} --model {bundle}",
        r"{bundle} holds another model \(made by hand\); choose another folder",
    ),
    (
        "backfill {config} --output {out} --from 2024-03-02 --to 2024-03-01",
        "--to 2024-03-01 is before --from 2024-03-02",
    ),
    ("backfill {config} --output {out} --from x --to {ds}", "--from: 'x' is not a date"),
    (
        "backfill {config} --output {out} --from {ds} --to {ds} --model {bundle} --retrain",
        "--model and --retrain contra",
    ),
    ("backfill {config} --output {out} --from {ds} --to {ds} -- --no_such", "'--no_such' is not an option"),
    ("verify {out}", "{out} holds no published night"),
    ("verify {published} --ds 2024-03-08", "has no published night of 2024-03-08; published there: {ds}"),
    ("show {out} --ds {ds}", "{out} has no published night of {ds}; nothing is published there"),
    ("show {published} --ds {ds} --user nobody", "user 'nobody' is not in the night of {ds}"),
    ("show {published} --ds {ds} --item nothing", "item 'nothing' is not in the night of {ds}"),
    ("config {config} --set tables.user2item.l=5", "unknown key tables.user2item.l .*k, similarity"),
    ("data movielens-100m --to {out}", "did you mean movielens-100k?"),
    ("init {out}/no.parquet", "nothing is at '{out}/no.parquet'"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[words for words, _ in WRONG])
def test_a_wrong_command_says_what_is_wrong(
    inputs: Inputs, published: Path, tmp_path: Path, words: str, says: str
) -> None:
    """Exit code 2 and a sentence; nothing is begun."""
    out, folder = tmp_path / "out", inputs.folder
    names = {"config": inputs.config, "inputs": folder, "bundle": inputs.bundle, "published": published, "out": out}
    names["ds"] = DS
    code, text = command(words.format(**names).split())
    assert code == 2
    assert "Traceback" not in text
    plain = re.sub(r"[\s│]+", " ", text)
    assert re.search(re.sub(r"\?$", r"\\?", says).replace("{config}", re.escape(inputs.config)).format(**names), plain)
    assert not out.exists() or not list(out.rglob("*.*"))


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = "".join(capsys.readouterr())
    assert all(name in shown for name in COMMANDS)


CONTRACT = {
    "data": ["--to"],
    "train": ["--model", "--ds", "--warm-start", "--set"],
    "tune": ["--study", "--output", "--trials", "--minutes", "--ds", "--space", "--metric", "--set"],
    "recommend": ["--output", "--ds", "--model", "--user-vectors", "--item-vectors", "--force", "--set"],
    "nightly": ["--output", "--ds", "--force", "--set"],
    "backfill": ["--output", "--from", "--to", "--model", "--retrain", "--force", "--set"],
    "evaluate": ["--model", "--protocol", "--splits", "--seed", "--output", "--set"],
    "plan": ["--model", "--user-vectors", "--item-vectors", "--ds", "--hours", "--json", "--set"],
    "verify": ["--ds"],
    "show": ["--ds", "--user", "--item"],
    "config": ["--set"],
    "init": ["--users", "--items"],
}


@pytest.mark.parametrize("name", CONTRACT)
def test_help_is_worth_reading(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option of the contract is there and explained, and nothing else is."""
    assert main([name, "--help"]) == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    options = [parameter for parameter in COMMANDS[name].params if parameter.opts[0].startswith("--")]
    assert [option.opts[0] for option in options] == sorted(CONTRACT[name], key=[o.opts[0] for o in options].index)
    for parameter in COMMANDS[name].params:
        explained = getattr(parameter, "help", None)
        assert explained, f"{name} {parameter.name}"
        assert explained.split("]")[-1].strip() in shown
    assert len(COMMANDS[name].help or "") > 60
    if name in ("train", "recommend", "nightly", "backfill"):
        assert "Beam go after --" in shown
        assert "2 usage, config or input error" in shown


def test_every_command_is_in_the_contract() -> None:
    assert set(COMMANDS) == set(CONTRACT)


# --- reading commands -------------------------------------------------------------------------------------------------


def test_config_prints_what_it_reads_back(inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", inputs.config, "--set", "tables.user2item.k=7", "--set=run.range_ids=5"]) == 0
    first = capsys.readouterr().out
    assert re.search(r"user2item:\n( .*\n)* *k: 7\n", first)
    assert "min_recall" in first, "defaults are shown"
    (tmp_path / "again.yaml").write_text(first)
    assert main(["config", str(tmp_path / "again.yaml")]) == 0
    assert capsys.readouterr().out == first


def test_verify_and_a_moved_output(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(published, moved)
    assert main(["verify", str(moved)]) == 0
    assert "1 published night verified" in capsys.readouterr().out
    part = next((moved / "user2item" / f"ds={DS}").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    code, text = command(["verify", str(moved), "--ds", DS])
    assert code == 1
    assert f"{part} cannot be read" in text or f"{part} has changed" in text
    assert "Traceback" not in text


def test_show(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(published), "--ds", DS]) == 0
    overview = capsys.readouterr().out
    assert f"Night of {DS}" in overview
    assert "recommended: " in overview
    (query, _, first, _), *_ = Published(published).rows("user2item")
    assert main(["show", str(published), "--ds", DS, "--user", query]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"\n *1 +{first} ", shown)
    assert main(["show", str(published), "--ds", DS, "--item", first]) == 0
    assert "item2item" in capsys.readouterr().out


def test_a_reader_that_stops_reading_gets_no_traceback(published: Path) -> None:
    code = "from recbatch.cli.main import entry; entry()"
    words = [sys.executable, "-c", code, "show", str(published), "--ds", DS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert (process.returncode, errors) == (1, "")


# --- training and recommending ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(inputs: Inputs) -> Path:
    """A bundle as of the day before the last event."""
    quick = ["--set", "model.training.epochs=1", "--set", "model.training.refit=false"]
    assert (
        command(["train", inputs.config, "--model", str(inputs.folder / "of-a-date"), "--ds", "2024-03-08", *quick])[0]
        == 0
    )
    assert command(["train", inputs.config, "--model", str(inputs.folder / "of-all"), *quick])[0] == 0
    return inputs.folder


def test_train_as_of_a_date_or_of_the_last_event(
    inputs: Inputs, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of_a_date, of_all = (read_manifest(str(trained / name)) for name in ("of-a-date", "of-all"))
    midnight = 1_709_942_400_000_000
    assert (of_a_date["as_of_us"], of_all["as_of_us"]) == (midnight, None)
    times = [event["at"] * 1000 for event in days_world().interactions]
    assert of_a_date["last_event_us"] == max(time for time in times if time < midnight)
    assert of_all["last_event_us"] == max(times)
    words = ["train", inputs.config, "--model", str(trained / "of-all"), "--set", "model.training.epochs=1"]
    with caplog.at_level("INFO"):
        assert command([*words, "--set", "model.training.refit=false"])[0] == 0
    assert f"nothing to do: {trained / 'of-all'} holds this model already" in caplog.text
    code, text = command(words)
    assert code == 2
    assert re.search(r"holds another model \(\w{16}\); choose another folder, or remove it", error_of(text))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "--model {bundle}",
            "model.pairs: a night's main model embeds users and items, but this one embeds items only; make it with",
        ),
        (
            "--model {good} --set tables.user2item.model={bundle}",
            r"tables.user2item: the model bundle {bundle} embeds items \(query\) and items \(candidate\), so it cannot "
            "make this table, which needs users; set tables.user2item.enabled: false",
        ),
    ],
)
def test_a_table_that_the_bundle_cannot_make(inputs: Inputs, tmp_path: Path, given: str, says: str) -> None:
    """An item2item bundle: both towers embed items."""
    bundle = tmp_path / "bundle"
    shutil.copytree(inputs.bundle, bundle)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["towers"]["query"]["entity"] = "item"
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    named = given.format(bundle=bundle, good=inputs.bundle).split()
    code, text = command(["recommend", inputs.config, *named, "--output", str(tmp_path / "out"), "--ds", DS])
    assert code == 2
    assert re.search(says.format(bundle=re.escape(str(bundle))), error_of(text)), error_of(text)
    assert not (tmp_path / "out").exists()


# --- backfill ---------------------------------------------------------------------------------------------------------


def backfill(inputs: Inputs, output: Path, first: str, last: str, *more: str) -> tuple[int, str]:
    return command(["backfill", inputs.config, "--output", str(output), "--from", first, "--to", last, *more])


def test_backfill_skips_goes_on_and_tells(inputs: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "out"
    model = ["--model", str(inputs.bundle), "--set", "run.allow_future_model=true"]
    assert backfill(inputs, output, "2024-03-06", "2024-03-06", *model)[0] == 0
    (output / "_published" / "2024-03-07.json").mkdir()  # a pointer that cannot be written
    skipped = (output / "_published" / "2024-03-06.json").read_bytes()

    with caplog.at_level("INFO"):
        code, text = backfill(inputs, output, "2024-03-06", "2024-03-08", *model, "--set", "tables.user2item.k=3")
    assert code == 1
    assert error_of(text).startswith("1 of 3 dates failed: 2024-03-07; ")
    assert "2024-03-06: skipped, it is published" in caplog.text
    assert re.search(r"2024-03-07: failed: .*2024-03-07.json: Is a directory", caplog.text)
    assert (output / "_published" / "2024-03-06.json").read_bytes() == skipped, "whatever its inputs"
    assert published_dates(str(output)) == ["2024-03-06", "2024-03-07", "2024-03-08"]

    (output / "_published" / "2024-03-07.json").rmdir()
    caplog.clear()
    with caplog.at_level("INFO"):
        assert backfill(inputs, output, "2024-03-06", "2024-03-08", *model)[0] == 0
    assert [ds for ds in ("06", "07", "08") if f"2024-03-{ds}: skipped" in caplog.text] == ["06", "08"]
    nights = [Published(output, f"2024-03-0{day}") for day in (6, 7, 8)]
    counts = [night.manifest["counts"]["interactions"]["accepted"] for night in nights]
    assert counts == sorted(set(counts)), "each as of its own date"

    assert backfill(inputs, output, "2024-03-06", "2024-03-06", *model, "--force")[0] == 0
    assert require_pointer(str(output), "2024-03-06").run.endswith("-2")


def test_backfill_refuses_a_model_of_the_future(inputs: Inputs, trained: Path, tmp_path: Path) -> None:
    """It would be measured by events that it has seen. Dates that are skipped are no reason."""
    output, model = tmp_path / "out", ["--model", str(trained / "of-a-date")]
    code, text = backfill(inputs, output, "2024-03-07", "2024-03-08", *model)
    assert code == 2
    assert re.search("of-a-date was trained on events after 2024-03-07, so it must not make the night", error_of(text))
    assert not output.exists()
    code, text = backfill(inputs, output, "2024-03-08", "2024-03-08", "--model", str(inputs.bundle))
    assert code == 2
    assert "was trained on events whose time it does not say" in error_of(text)
    assert backfill(inputs, output, "2024-03-07", "2024-03-07", *model, "--set=run.allow_future_model=true")[0] == 0
    assert backfill(inputs, output, "2024-03-07", "2024-03-08", *model)[0] == 0
    assert published_dates(str(output)) == ["2024-03-07", "2024-03-08"]


@pytest.mark.heavy
def test_backfill_retrains_per_date(inputs: Inputs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    quick = ["--set", "model.training.epochs=1", "--set", "model.training.refit=false"]
    assert backfill(inputs, output, "2024-03-07", "2024-03-08", "--retrain", *quick)[0] == 0
    bundles = [Published(output, f"2024-03-0{day}").manifest["model"]["bundle"] for day in (7, 8)]
    last = [read_manifest(str(output / bundle))["last_event_us"] for bundle in bundles]
    assert last[0] < 1_709_856_000_000_000 <= last[1] < 1_709_942_400_000_000
    # A night by itself finds the bundle that the backfill has trained for the date.
    sets = [word for word in quick if word != "--set"]
    assert not launch_nightly(inputs.config, sets, str(output), "2024-03-08", force=False, beam_arguments=[]).published


def test_help_imports_no_library_that_works() -> None:
    """Only what the command line itself needs, so that it answers at once."""
    asked = (
        "import sys\nfrom recbatch.cli.main import main\nassert main(['--help']) == 0\n"
        "heavy = {'numpy', 'pyarrow', 'pydantic', 'apache_beam', 'tensorflow', 'scann'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True)
