"""Release: synthetic records in a folder that can be published, and the check of such a folder.

>>> from synthgen.release import Terms, release, verify
>>> release(synthesizer, "bundle", 1000, terms=Terms(title="Planes", licence="CC0-1.0"))  # doctest: +SKIP
>>> verify("bundle").promise  # doctest: +SKIP
"""

from synthgen.release.bundle import release
from synthgen.release.terms import Terms
from synthgen.release.verify import Verified, verify

__all__ = ["Terms", "Verified", "release", "verify"]
