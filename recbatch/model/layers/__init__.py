"""Feature layers by kind; :mod:`recbatch.model.features` is their door."""
