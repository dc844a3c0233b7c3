"""The work items of a night as plain functions; each makes one part, or finds it there.

:mod:`recbatch.transforms` runs them in Beam; they can be called, and tested, without.
"""
