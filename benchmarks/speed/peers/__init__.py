"""The night beside other libraries that rank all candidates of a query and write the best: ``make bench-peers``.

Every peer is a script of its own (``<library>/peer.py``) that imports nothing of this project, in an environment of its
own where it needs one; :mod:`.comparing` runs it and the night in turn, :mod:`.checking` reads what both have written.
"""
