"""What the audit finds is not published: readers keep the night that they have."""

IMPORTS
@pytest.fixture
def night(tmp_path_factory: pytest.TempPathFactory) -> SmallNight:
    return small_night(tmp_path_factory.getbasetemp())


@pytest.fixture
def copy(night: SmallNight, tmp_path: Path) -> SmallNight:
    return night.copied(tmp_path / "copy" / "of out")


def swap_two_candidates(path: Path) -> None:
    rewrite(path, lambda rows: rows.set_column(2, rows.schema.field(2), [rows.column(2).take(swapped(rows))]))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """The part with other rows and the same footer, as if its work item had made it so."""
    metadata = pq.read_metadata(path).metadata
    rows = change(pq.read_table(path))
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({b"recbatch": metadata[b"recbatch"]})


CORRUPTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped bit": (flip_a_byte, "cannot be read back"),
    "swapped candidates": (swap_two_candidates, "scores of sampled queries are not those of the published vectors"),
}


@pytest.mark.parametrize("corruption", list(CORRUPTIONS))
def test_what_the_audit_finds_is_not_published(
    corruption: str, copy: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part goes bad between search and publish: readers keep the night that they have, and a rerun mends it."""
    config, _ = night
    corrupt, message = CORRUPTIONS[corruption]
    search = Search.__call__

    def search_and_corrupt(self: Search, *arguments: Any) -> Any:
        result = search(self, *arguments)
        if self.job.name == "item2item" and result.number == 1:
            corrupt(Path(result.part.uri))
        return result

    before, files = pointer_run(copied), snapshot(copied / "item2item")
    with monkeypatch.context() as patch:
        patch.setattr(Search, "__call__", search_and_corrupt)
        with pytest.raises(RecbatchError, match="not published, readers keep what they have") as failure:
            run(config, copied, model=bundle, sets=["tables.item2item.k=3"])
    assert message in str(failure.value)
    assert "item2item/part-00001.parquet" in str(failure.value)
    assert pointer_run(copied) == before
    assert snapshot(copied / "item2item") == files
    assert check_output(str(copied)) == ([DS], [])

    (bad,) = {
        path for path in copied.glob("_runs/*/*/4_tables/item2item/part-00001.parquet") if before not in str(path)
    }
    bad.unlink()
    outcome = run(config, copied, model=bundle, sets=["tables.item2item.k=3"])
    assert outcome.published
    published = Published(copied)
    assert published.manifest["work"]["item2item"] == {"made": 1, "found": 2}
    check_table(published, "item2item", small_world(), Rules(), {"k": 3}, bias=3)


def test_a_missing_part_is_not_published(
    night: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step counts what arrived against the plan, not against itself."""
    config, output = night
    from recbatch.work import publish

    before = pointer_run(output)
    original = publish.Results

    def lossy(samples: Any, cleaned: Any, profiles: Any, embeddings: Any, indexes: Any, audits: Any) -> Any:
        kept = [audit for audit in audits if (audit.table, audit.number) != ("user2user", 1)]
        return original(samples, cleaned, profiles, embeddings, indexes, kept)

    monkeypatch.setattr(publish, "Results", lossy)
    with pytest.raises(RecbatchError, match="user2user: range 1 is missing"):
        run(config, output, model=bundle, sets=["tables.user2user.k=2"])
    assert pointer_run(output) == before
