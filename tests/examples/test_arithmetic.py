import pytest

from examples.customer_service.arithmetic import calculate
from ledgent.agent import ToolError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 2", "4.0"),
        (" (269.16 - 272.33) * -2 ", "6.34"),
        ("2 * (3 + 4) / 7 - .5", "1.5"),
        ("10 / 3", "3.33"),
        ("-+-1", "1.0"),
    ],
)
def test_sums_are_rounded_to_cents(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("__import__('os')", "invalid characters in expression"),
        ("2 ^ 3", "invalid characters in expression"),
        ("1\n+1", "invalid characters in expression"),
        ("9 ** 9 ** 9 ** 9", "invalid expression"),
        ("7 // 2", "invalid expression"),
        ("1 2", "invalid expression"),
        ("(1, 2)", "invalid characters in expression"),
        ("1 (2)", "invalid expression"),
        ("", "invalid expression"),
        ("()", "invalid expression"),
        ("007", "invalid expression"),
        ("(" * 5000 + "1" + ")" * 5000, "invalid expression"),
        ("-" * 50_000 + "1", "invalid expression"),
        ("1" + "+1" * 50_000, "invalid expression"),
        ("9" * 5000, "invalid expression"),
        ("9" * 400, "the result is too large"),
        ("9" * 400 + ".0 - " + "9" * 400 + ".0", "the result is too large"),
        ("1 / (2 - 2)", "division by zero"),
    ],
)
def test_what_is_no_sum_is_refused(expression: str, text: str) -> None:
    with pytest.raises(ToolError) as refusal:
        calculate(expression)
    assert str(refusal.value) == f"Error: {text}"
