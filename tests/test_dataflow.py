"""What would be sent to Dataflow: the graph that the nightly job builds, translated and checked without a cloud."""

from __future__ import annotations

import base64
import bz2
import re
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as proto
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

from jobs import nightly
from recbatch import storage
from recbatch.errors import InputError
from recbatch.launch.pipelines import run_pipeline

ROOT = Path(__file__).resolve().parent.parent
GROUPING = "beam:transform:group_by_key:v1"
OPTIONS = ["--runner=DataflowRunner", "--project=some-project", "--region=europe-west1"]

SENTENCE = [
    "Slices",
    "Spread slices",
    "clean",
    "sample",
    "Once cut",
    "cut",
    "Profiles",
    "Plan of train",
    "train",
    "Embed user_embeddings",
    "Audit user_embeddings",
    "Embed item_embeddings",
    "Audit item_embeddings",
    "All vectors",
    "Once shards",
    "shards",
    "Indexes",
    "Search user2item",
    "Search item2item",
    "Search user2user",
    "Search item2user",
    "All Profiles",
    "All Embeddings",
    "All Indexes",
    "All Audits",
    "Plan of publish",
    "publish",
]


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the columns of the default configuration."""
    folder = tmp_path_factory.mktemp("movielens")
    pq.write_table(
        pa.table({"user_id": ["1", "2"], "item_id": ["10", "20"], "rating": [4.0, 5.0], "timestamp": [874965758] * 2}),
        folder / "interactions.parquet",
    )
    pq.write_table(pa.table({"user_id": ["1", "2"]}), folder / "users.parquet")
    items = {"item_id": ["10", "20"], "title": ["A (1990)", "B (1991)"], "year": [1990, 1991], "genres": ["x|y", "y"]}
    pq.write_table(pa.table(items), folder / "items.parquet")
    return folder


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that the runner was about to send; no connection is made."""
    jobs: list[Any] = []
    original = DataflowRunner.run_pipeline

    def kept(*arguments: Any) -> Any:
        result = original(*arguments)
        jobs.append(result.job)
        return result

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(DataflowRunner, "run_pipeline", kept)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return jobs


def translate(movielens: Path, output: Path, *more: str) -> int:
    """Run the nightly job's main as a Flex Template's launcher does; returns its exit code."""
    paths = [f"--set=inputs.{name}.path={movielens}/{name}.parquet" for name in ("interactions", "users", "items")]
    return nightly.main(
        [
            f"--config={ROOT}/configs/movielens-100k.yaml",
            f"--output={output}",
            "--ds=1998-04-23",
            *paths,
            *OPTIONS,
            "--dry_run=True",
            "--temp_location=gs://some-bucket/temporary",
            *more,
        ]
    )


def test_dataflow_dry_run(movielens: Path, sent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert translate(movielens, tmp_path / "out", "--setup_file=./setup.py") == 0
    (job,) = sent
    pipeline = job.proto_pipeline

    assert top_level(pipeline) == SENTENCE
    assert set(groupings(pipeline)) == {"beam:coder:varint:v1"}, "keys that every worker encodes alike"
    pickles = list(unpickled(pipeline))
    assert len(pickles) > 30
    assert not [name for name, pickle in pickles if b"__main__" in pickle]
    assert pipeline.ByteSize() < 500_000
    checksum = storage.checksum(str(movielens / "interactions.parquet")).encode()
    know_the_files = {name.split("/")[0] for name, pickle in pickles if checksum in pickle}
    assert know_the_files == {"Slices", "Plan of train", "Plan of publish"}

    (environment,) = pipeline.components.environments.values()
    assert int(environment.resource_hints["beam:resources:min_ram_bytes:v1"]) >= 8 * 10**9
    assert "schemas/user2item.json" in names_in(package_of(environment))
    assert "recbatch/pipeline.py" in names_in(package_of(environment))
    experiments = job.options.get_all_options()["experiments"]
    assert "no_use_multiple_sdk_containers" in experiments
    assert "use_multiple_sdk_containers" not in experiments
    assert not list((tmp_path / "out").rglob("*.parquet")), "nothing ran"


def test_the_graph_does_not_grow_with_the_input(movielens: Path, sent: list[Any], tmp_path: Path) -> None:
    """A runner bounds it: the files travel as elements, and no step but those that need them carries them."""
    events = pq.read_table(movielens / "interactions.parquet")
    for number in range(300):
        pq.write_table(events.slice(number % 2, 1), movielens / f"part-{number:05d}.parquet")
    for pattern in ("part-00001.parquet", "part-*.parquet"):
        assert translate(movielens, tmp_path / "out", f"--set=inputs.interactions.path={movielens}/{pattern}") == 0
    one, many = (job.proto_pipeline.ByteSize() for job in sent)
    assert many - one < 300 * 3 * 200


def test_workers_elsewhere_reach_no_local_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"/out is on this machine, where the workers of DataflowRunner cannot reach it"
    ):
        run_pipeline(
            lambda _: None, "a job", [*OPTIONS, "--temp_location=gs://b/t"], state_uri=str(tmp_path), uris=["/out"]
        )


def test_what_the_options_say_stays(movielens: Path, sent: list[Any], tmp_path: Path) -> None:
    chosen = [
        "--experiments=use_multiple_sdk_containers",
        "--number_of_worker_harness_threads=7",
        "--resource_hint=min_ram=64GB",
    ]
    assert translate(movielens, tmp_path / "out", *chosen) == 0
    options = sent[0].options.get_all_options()
    assert options["number_of_worker_harness_threads"] == 7
    assert "no_use_multiple_sdk_containers" not in options["experiments"]
    (environment,) = sent[0].proto_pipeline.components.environments.values()
    assert environment.resource_hints["beam:resources:min_ram_bytes:v1"] == b"64000000000"


def top_level(pipeline: proto.Pipeline) -> list[str]:
    """Names of the transforms of the outermost level, in the order in which they were applied."""
    transforms = pipeline.components.transforms
    inner = {name for transform in transforms.values() for name in transform.subtransforms}
    roots = [name for name in transforms if name not in inner]
    if len(roots) == 1:
        roots = list(transforms[roots[0]].subtransforms)
    return [transforms[name].unique_name for name in sorted(roots, key=_number)]


def _number(name: str) -> int:
    found = re.search(r"(\d+)$", name)
    return int(found[1]) if found else 0


def groupings(pipeline: proto.Pipeline) -> Iterator[str]:
    """How the keys of every grouping are encoded."""
    components = pipeline.components
    for transform in components.transforms.values():
        if transform.spec.urn == GROUPING:
            (grouped,) = transform.inputs.values()
            coder = components.coders[components.pcollections[grouped].coder_id]
            assert coder.spec.urn == "beam:coder:kv:v1"
            yield components.coders[coder.component_coder_ids[0]].spec.urn


def unpickled(pipeline: proto.Pipeline) -> Iterator[tuple[str, bytes]]:
    """(transform, its pickled function) of every ParDo."""
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = proto.ParDoPayload.FromString(transform.spec.payload)
            yield transform.unique_name, bz2.decompress(base64.b64decode(payload.do_fn.payload))


def package_of(environment: proto.Environment) -> Path:
    """The source distribution that the workers would install."""
    (path,) = (
        Path(proto.ArtifactFilePayload.FromString(artifact.type_payload).path)
        for artifact in environment.dependencies
        if b"workflow.tar.gz" in artifact.role_payload
    )
    return path


def names_in(archive: Path) -> set[str]:
    """Names below the top folder of a source distribution."""
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}
