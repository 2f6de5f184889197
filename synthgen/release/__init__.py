"""Release: synthetic records in a folder that can be published, and the check of such a folder.

>>> from synthgen.release import Terms, release
>>> release(synthesizer, "bundle", 1000, terms=Terms(title="Planes", licence="CC0-1.0"))  # doctest: +SKIP
"""

from synthgen.release.bundle import release
from synthgen.release.terms import Terms

__all__ = ["Terms", "release"]
