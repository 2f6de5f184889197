"""Rules: what a person declares to hold in every row, such as `start <= end`."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

_SIGN = re.compile(r"<=|<|>=|>")


class Rule(NamedTuple):
    """One declared rule, taken apart.

    `order` says that `columns[0]` is at most `columns[1]`, or less than it where `strict`; `combinations`
    that the columns hold only combinations that occur in the data.
    """

    text: str
    kind: Literal["order", "combinations"]
    columns: tuple[str, ...]
    strict: bool = False

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> "Rule":
        """Take a rule apart; column names may hold blanks and operators.

        Raises:
            ValueError: it is none of the forms above.
        """
        if text.startswith("combinations:"):
            columns = _split_names(text.removeprefix("combinations:").strip(), names)
            if len(columns) >= 2:
                return cls(text, "combinations", tuple(columns))
        elif cuts := _comparisons(text):
            left, sign, right = next((c for c in cuts if {c[0], c[2]} <= set(names)), cuts[0])
            pair = (left, right) if sign[0] == "<" else (right, left)
            return cls(text, "order", pair, strict="=" not in sign)
        raise ValueError(
            f"{text!r} is no rule; write 'start <= end' or 'combinations: country, city', "
            "and bounds of one column as its minimum and maximum"
        )


def _comparisons(text: str) -> list[tuple[str, str, str]]:
    """The ways to cut a text into a name, a sign and a name."""
    cuts = [(text[: m.start()].strip(), m[0], text[m.end() :].strip()) for m in _SIGN.finditer(text)]
    return [cut for cut in cuts if all(cut)]


def _split_names(text: str, names: Sequence[str]) -> list[str]:
    """Column names separated by commas, though a name may hold one."""
    found = []
    rest = text
    while rest:
        fitting = [n for n in names if rest == n or re.match(re.escape(n) + r"\s*,", rest)]
        name = max(fitting, key=len) if fitting else rest.split(",")[0].strip()
        found.append(name)
        rest = rest[len(name) :].lstrip().removeprefix(",").strip()
    return found
