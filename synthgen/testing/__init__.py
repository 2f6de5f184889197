"""The conformance kit: what every generator must do, as checks that its author can run.

from synthgen.testing import checks

@pytest.mark.parametrize("check", checks(MyGenerator), ids=str)
def test_conformance(check):
    check()
"""

from typing import Any

from synthgen.generator import Generator
from synthgen.testing.images import image_checks
from synthgen.testing.kit import Check
from synthgen.testing.tables import table_checks

__all__ = ["Check", "checks"]


def checks(cls: type[Generator], **settings: Any) -> list[Check]:
    """The checks that apply to a generator class: on a table and on images, as far as it accepts them.

    Checks on images have names that end in `[images]`.

    Args:
        cls: the generator.
        settings: values for its Config and for its Recipe, such as `steps=200`, which makes the kit quick;
            the defaults otherwise.

    Raises:
        SynthgenError: a setting is unknown or out of its bounds.
    """
    found = table_checks(cls, settings) if "table" in cls.accepts else []
    return found + (image_checks(cls, settings, alone=not found) if "images" in cls.accepts else [])
