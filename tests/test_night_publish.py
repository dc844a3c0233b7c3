"""Publishing: manifest, pointer and folders, and what a second run does."""

IMPORTS
@pytest.fixture
def night(tmp_path_factory: pytest.TempPathFactory) -> SmallNight:
    return small_night(tmp_path_factory.getbasetemp())


@pytest.fixture
def copy(night: SmallNight, tmp_path: Path) -> SmallNight:
    return night.copied(tmp_path / "copy" / "of out")


def test_manifest(night: SmallNight) -> None:
    config, output = night
    published = Published(output)
    manifest = published.manifest
    assert manifest["bias_coordinate"] == 3
    assert manifest["ds"] == DS
    assert manifest["run"] == pointer_run(output)
    assert set(manifest["tables"]) == {*SIDES, *EMBEDDINGS}
    for name, entry in manifest["tables"].items():
        entity = name.split("_")[0] if name in EMBEDDINGS else SIDES[name][0]
        count = len(USERS if entity == "user" else ITEMS)
        assert entry["schema"] == name
        assert entry["queries"] == count
        assert set(entry["not_served"].values()) == {0}
        assert len(entry["files"]) == -(-count // 6)
        for file in entry["files"]:
            path = output / file["path"]
            assert file["bytes"] == path.stat().st_size
            assert file["rows"] == pq.read_metadata(path).num_rows
            assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        if name in SIDES:
            assert entry["index"]["kind"] == "exact"
            assert entry["index"]["index_recall_at_k"] == 1.0
    identity = manifest["identity"]
    assert identity["ds"] == DS
    assert identity["config"]["run"]["range_ids"] == 6
    assert identity["bundle"] == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    events = Path(config).parent / "events" / "00.parquet"
    assert identity["checksums"]["interactions"] == [f"sha256:{hashlib.sha256(events.read_bytes()).hexdigest()}"]
    assert set(identity["checksums"]) == {"interactions", "users", "items"}
    assert manifest["model"]["fingerprint"] == "made by hand"
    assert manifest["schemas"]["user2item"][0]["name"] == "user_id"
    assert {"recbatch", "pyarrow", "scann"} - set(manifest["versions"]) <= {"recbatch"}
    assert manifest["processor"]["machine"] == os.uname().machine
    assert all(seconds >= 0 for seconds in manifest["timings"]["seconds_by_step"].values())
    assert all(work["found"] == 0 for work in manifest["work"].values())
    assert str(output) not in json.dumps(manifest["tables"])  # paths are relative, so that a copy verifies


def test_pointer(night: SmallNight) -> None:
    _, output = night
    pointer = json.loads((output / "_published" / f"{DS}.json").read_bytes())
    manifest = output / pointer["manifest"]
    assert pointer["ds"] == DS
    assert pointer["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert pointer["previous"] == []
    assert json.loads(manifest.read_bytes())["run"] == pointer["run"] == manifest.parent.name


def test_folders_are_hard_links_to_the_parts(night: SmallNight) -> None:
    _, output = night
    published = Published(output)
    tables = published.manifest["tables"]
    assert {path.name for path in output.glob("[!.]*")} == {"_published", "_runs", *tables}
    for table, entry in tables.items():
        parts = [output / file["path"] for file in entry["files"]]
        assert published.projected(table) == ["_SUCCESS", *(part.name for part in parts)]
        for part in parts:
            assert (output / table / f"ds={DS}" / part.name).samefile(part)


def test_a_second_run_does_nothing_and_says_so(
    night: SmallNight, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, output = night
    before = snapshot(output)
    monkeypatch.setattr("recbatch.launch.pipelines.run_pipeline", lambda *_, **__: pytest.fail("a pipeline was run"))
    with caplog.at_level("INFO", "recbatch"):
        assert recommend(config, output, bundle) == 0
    assert "nothing to do" in caplog.text
    assert snapshot(output) == before


def test_a_value_changed_in_place_makes_a_new_run(night: SmallNight, tmp_path: Path) -> None:
    """Same size, same modification time: only the content tells."""
    folder, output = tmp_path / "world", tmp_path / "out"
    world = small_world()
    config = world.config(world.write(folder), SETTINGS)
    events = folder / "events" / "00.parquet"
    rows = pq.read_table(events)
    pq.write_table(rows, events, compression="none", use_dictionary=False)
    run(config, output, model=bundle)
    first, times = pointer_run(output), events.stat()
    stars = pa.array([1.0, *rows["stars"].to_pylist()[1:]])
    pq.write_table(rows.set_column(3, "stars", stars), events, compression="none", use_dictionary=False)
    os.utime(events, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (events.stat().st_mtime_ns, events.stat().st_size) == (times.st_mtime_ns, times.st_size)

    assert run(config, output, model=bundle).published
    pointer = read_pointer(str(output), DS)
    assert pointer is not None
    assert pointer.run != first
    assert pointer.previous == (first,)
    assert check_output(str(output)) == ([DS], [])


def test_other_inputs_leave_no_old_file(copy: SmallNight) -> None:
    """Fewer ranges, so fewer parts, and a table switched off; and back again."""
    config, _ = night
    first = pointer_run(copied)
    words = ("--set", "run.range_ids=100", "--set", "tables.user2user.enabled=false", "--set", "tables.user2item.k=2")
    assert recommend(config, copied, bundle, *words) == 0
    published = Published(copied)
    assert pointer_run(copied) != first
    assert sorted(published.manifest["tables"]) == sorted({*SIDES, *EMBEDDINGS} - {"user2user"})
    for table in published.manifest["tables"]:
        assert published.projected(table) == ["_SUCCESS", "part-00000.parquet"]
        assert (copied / table / f"ds={DS}" / "_SUCCESS").read_text() == pointer_run(copied)
    assert published.projected("user2user") == []
    check_table(published, "user2item", small_world(), Rules(), {"k": 2})
    assert check_output(str(copied)) == ([DS], [])

    # The first inputs again: its parts are all there, and it is the night again.
    outcome = run(config, copied, model=bundle)
    assert pointer_run(copied) == first
    assert outcome.published
    assert published.manifest["tables"]["user2user"]["files"][0]["path"].startswith(f"_runs/{DS}/{first}/")
    assert len(published.projected("user2item")) == 3
    assert published.projected("user2user")[0] == "_SUCCESS"
    assert check_output(str(copied)) == ([DS], [])


def test_force_makes_a_run_of_its_own(copy: SmallNight) -> None:
    config, _ = night
    name, rows = pointer_run(copied), Published(copied).rows("user2item")
    for counter in (2, 3):
        assert recommend(config, copied, bundle, "--force") == 0
        assert pointer_run(copied) == f"{name}-{counter}"
    pointer = read_pointer(str(copied), DS)
    assert pointer is not None
    assert pointer.previous == (f"{name}-2", name)
    published = Published(copied)
    assert published.rows("user2item") == rows
    assert published.manifest["work"]["user2item"] == {"made": 2, "found": 0}
    assert (copied / "user2item" / f"ds={DS}" / "_SUCCESS").read_text() == f"{name}-3"
    assert check_output(str(copied)) == ([DS], [])
    assert not run(config, copied, model=bundle).published  # the forced night is of these inputs


def test_a_table_with_a_model_of_its_own(night: SmallNight, tmp_path: Path) -> None:
    config, _ = night
    others = random_vectors(ITEMS, dim=9, seed=11)
    other = given_bundle(tmp_path / "other", random_vectors(USERS, dim=9, seed=12), others, bias=0)
    output = tmp_path / "out"
    run(config, output, model=bundle, sets=[f"tables.item2item.model={other}", "tables.item2item.k=4"])
    published = Published(output)
    own = {"item2item_query_embeddings", "item2item_candidate_embeddings"}
    assert set(published.manifest["tables"]) == {*SIDES, *EMBEDDINGS, *own}
    for name in own:
        assert published.table(name).schema.names == ["id", "embedding"]
        found = published.vectors(name)
        assert found.keys() == others.keys()
        assert all((found[item] == others[item]).all() for item in others)
        assert "_SUCCESS" in published.projected(name)
    expected = top_k(others, others, {**DEFAULTS["item2item"], "k": 4}, seen={}, bias=0)
    assert published.rows("item2item") == expected.rows
    assert np.abs(published.scores("item2item") - expected.scores).max() < 1e-6
    check_table(published, "user2item", small_world(), Rules(), {}, bias=3)
    assert len(next(iter(published.vectors("item_embeddings").values()))) == 6
    assert published.manifest["identity"]["other_bundles"].keys() == {"item2item"}
    assert check_output(str(output)) == ([DS], [])

    # Without it the night is another run, and the extra tables are gone.
    run(config, output, model=bundle)
    assert not any(published.projected(name) for name in own)
    assert check_output(str(output)) == ([DS], [])


def test_a_bundle_replaced_during_the_run_fails_it(
    night: SmallNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared folder of the newest model, say; and the process must not go on with the towers that it holds."""
    config, _ = night
    latest = Path(shutil.copytree(bundle, tmp_path / "latest"))
    run(config, tmp_path / "out", model=latest)
    newer = given_bundle(tmp_path / "newer", random_vectors(USERS, seed=21), random_vectors(ITEMS, seed=22))
    embed_range = embedding.embed_range

    def replace_first(*arguments: Any) -> Any:
        if newer.exists():
            shutil.rmtree(latest)
            newer.rename(latest)
        return embed_range(*arguments)

    monkeypatch.setattr(embedding, "embed_range", replace_first)
    with pytest.raises(RecbatchError, match="latest was replaced during the run"):
        run(config, tmp_path / "out", model=latest, sets=["tables.user2item.k=5"])
    run(config, tmp_path / "out", model=latest, sets=["tables.user2item.k=5"])
    found = Published(tmp_path / "out").vectors("user_embeddings")
    assert all((found[name] == vector).all() for name, vector in random_vectors(USERS, seed=21).items())
