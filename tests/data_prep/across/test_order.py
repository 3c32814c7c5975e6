"""A number is found by its place among all, as sorting finds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_prep.across.order import kth_smallest


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<u8"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_kth_smallest_is_that_of_a_sort(dtype: str, data: st.DataObject) -> None:
    elements: Any = {} if dtype == "<u8" else {"elements": {"allow_nan": False}}
    numbers = data.draw(arrays.arrays(dtype, st.integers(1, 30), **elements))
    numbers = numbers[data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=1, max_size=50))]
    cuts = data.draw(st.lists(st.integers(0, len(numbers)), max_size=4))
    k = data.draw(st.integers(0, len(numbers) - 1))
    found = kth_smallest(np.split(numbers, sorted(cuts)), k)
    assert found.dtype == numbers.dtype and found == np.sort(numbers)[k]
