"""A bounded search for better values of a model's settings, on what is held out of its own training data.

:mod:`recbatch.tuning.space` says what may be changed, :mod:`recbatch.tuning.search` tries it, trial by trial, each in a
process of its own (:mod:`recbatch.tuning.child`), :mod:`recbatch.tuning.study` keeps what was found in a folder, and
:mod:`recbatch.tuning.written` writes the best as a configuration.
"""
