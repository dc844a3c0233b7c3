"""Blocks of queries on all cores: every matrix product among them is one thread's."""

from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import ThreadpoolController

from recbatch.neighbours import for_each


def test_matrix_products_have_one_thread_whoever_asks() -> None:
    """Also where another thread, which still lives, was the first to ask."""
    np.ones((2, 2)) @ np.ones((2, 2))
    blas = ThreadpoolController().select(user_api="blas")
    before = [library["num_threads"] for library in blas.info()]
    seen: list[int] = []

    def look(_: int) -> None:
        seen.extend(library["num_threads"] for library in blas.info())

    for_each(look, range(3))
    asking = threading.Thread(target=for_each, args=(look, range(3)))
    asking.start()
    asking.join()
    assert seen == [1] * (6 * len(before))
    assert [library["num_threads"] for library in blas.info()] == before
