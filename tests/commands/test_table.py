from __future__ import annotations

import pytest

from gateway.commands.table import mebibytes, table


def test_columns_are_aligned_and_numbers_flush_right() -> None:
    assert table(("NAME", "N"), [("a", 5), ("long", 12), ("b", None)]).splitlines() == [
        "NAME   N",
        "a      5",
        "long  12",
        "b      -",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert table(("A", "B"), []) == "A  B"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (2048, "2.0 KiB"), (3659407, "3.5 MiB"), (104858, "0.1 MiB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert mebibytes(size) == text
