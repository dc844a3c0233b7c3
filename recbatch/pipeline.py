"""The night as one pipeline; it reads like the run directory it fills."""

from __future__ import annotations

import apache_beam as beam

from recbatch.dofns import Do
from recbatch.night import Plan, TrainingJob
from recbatch.transforms import (
    Embed,
    Indexes,
    Profiles,
    Search,
    audit_vectors,
    clean,
    cut,
    cut_shards,
    finish,
    fit,
    sample,
)


def build(root: beam.Pipeline, plan: Plan) -> beam.PCollection[str]:
    """interactions, users, items -> profiles -> embeddings -> indexes -> tables -> audit -> published night.

    Args:
        root: the pipeline to add the night to.
        plan: what is to be done.

    Returns:
        One element, the name of the run that was published.
    """
    night = plan.night
    cleaned = clean(plan, root)
    samples = sample(night, cleaned)
    cuts = cut(night, samples)
    profiles = cleaned | "Profiles" >> Profiles(night, cuts)
    bundle = fit(plan, cuts)

    embeddings, audits = {}, []
    for vectors in night.sets:
        embeddings[vectors.name] = profiles[vectors.entity] | f"Embed {vectors.name}" >> Embed(night, vectors, bundle)
        audits.append(audit_vectors(night, vectors, embeddings[vectors.name]))
    indexes = cut_shards(night, embeddings) | "Indexes" >> Indexes(night, embeddings)
    for job in night.jobs:
        sides = embeddings[job.queries.name], embeddings[job.candidates.name]
        audits.append(indexes[job.name] | f"Search {job.name}" >> Search(night, job, *sides))

    return finish(plan, samples, cleaned, profiles, embeddings, indexes, audits)


def build_training(root: beam.Pipeline, job: TrainingJob) -> beam.PCollection[object]:
    """A training alone, as the one work item of a pipeline, so that it runs wherever a pipeline does."""
    from recbatch.work.training import train_job  # brings TensorFlow

    return root | "Training" >> beam.Create([job]) | "Train" >> beam.ParDo(Do(job.state_uri, "train", train_job))
