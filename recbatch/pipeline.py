"""The night as one pipeline; it reads like the run directory it fills."""

from __future__ import annotations

import apache_beam as beam

from recbatch.night import Night
from recbatch.transforms import Embed, Index, Profiles, Search, clean, cut, finish, fit


def build(root: beam.Pipeline, night: Night) -> beam.PCollection[str]:
    """interactions, users, items -> profiles -> embeddings -> indexes -> tables -> audit -> published night.

    Args:
        root: the pipeline to add the night to.
        night: what is to be done.

    Returns:
        One element, the name of the run that was published.
    """
    cleaned = clean(night, root)
    cuts = cut(night, cleaned)
    profiles = cleaned | "Profiles" >> Profiles(night, cuts)
    bundle = fit(night, cuts)

    embeddings = {
        vectors.name: profiles[vectors.entity] | f"Embed {vectors.name}" >> Embed(night, vectors, bundle)
        for vectors in night.sets
    }
    indexes, audits = {}, []
    for job in night.jobs:
        queries, candidates = embeddings[job.queries.name], embeddings[job.candidates.name]
        indexes[job.name] = candidates | f"Index {job.name}" >> Index(night, job, queries)
        audits.append(queries | f"Search {job.name}" >> Search(night, job, indexes[job.name], candidates))

    return finish(night, cleaned, profiles, embeddings, indexes, audits)
