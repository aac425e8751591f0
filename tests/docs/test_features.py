"""The page of features: no row without tests that are there, and none twice."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| there |")
]


def found(test: str) -> object:
    """The function that pytest calls so. Raises ImportError and AttributeError."""
    path, *names = test.split("::")
    at: object = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for name in names:
        at = getattr(at, name)
    return at


def test_there_are_all_three_columns_and_no_row_is_there_twice() -> None:
    assert len(ROWS) > 80
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []
    features = [re.sub(r"\W+", " ", feature).lower() for feature, _, _ in ROWS]
    assert [feature for feature in features if features.count(feature) > 1] == []


@pytest.mark.parametrize("feature", [row[0] for row in ROWS])
def test_each_feature_names_tests_that_are_there(feature: str) -> None:
    (cell,) = (row[2] for row in ROWS if row[0] == feature)
    tests = re.findall(r"`([^`]+)`", cell)
    assert tests
    assert re.sub(r"`[^`]+`", "", cell).strip(", ") == "", "only tests are named in the last column"
    for test in tests:
        assert re.fullmatch(r"tests/(\w+/)*test_\w+\.py(::Test\w+)?::test_\w+", test)
        assert callable(found(test)), test
