"""Licences that data are published under: their names, where their texts are, and what others call them."""

from __future__ import annotations

import re
from typing import NamedTuple

from synthgen.errors import SynthgenError, near

CC = "https://creativecommons.org"
OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


class Licence(NamedTuple):
    """A licence.

    Attributes:
        spdx: its identifier.
        title: its name.
        url: of its text; "" of a licence of one's own.
        hub: what Hugging Face calls it, "other" where it has no name for it.
    """

    spdx: str
    title: str
    url: str
    hub: str

    @property
    def text(self) -> str:
        """The file LICENSE."""
        where = f"Its text: {self.url}" if self.url else "Its text is with whoever published these data."
        return f"SPDX-License-Identifier: {self.spdx}\n\nThe data are published under: {self.title}.\n{where}\n"


_ODC, _SPDX = "https://opendatacommons.org/licenses", "https://spdx.org/licenses"
_KNOWN = [
    ("CC0-1.0", "Creative Commons Zero 1.0 Universal", f"{CC}/publicdomain/zero/1.0/legalcode"),
    *(
        (f"CC-{code}-4.0", f"Creative Commons {title} 4.0 International", f"{CC}/licenses/{code.lower()}/4.0/legalcode")
        for code, title in {
            "BY": "Attribution",
            "BY-SA": "Attribution Share Alike",
            "BY-NC": "Attribution Non Commercial",
            "BY-ND": "Attribution No Derivatives",
            "BY-NC-SA": "Attribution Non Commercial Share Alike",
            "BY-NC-ND": "Attribution Non Commercial No Derivatives",
        }.items()
    ),
    ("ODbL-1.0", "Open Data Commons Open Database License 1.0", f"{_ODC}/odbl/1-0/", "odbl"),
    ("ODC-By-1.0", "Open Data Commons Attribution License 1.0", f"{_ODC}/by/1-0/", "odc-by"),
    ("PDDL-1.0", "Open Data Commons Public Domain Dedication and License 1.0", f"{_ODC}/pddl/1-0/", "pddl"),
    ("CDLA-Permissive-2.0", "Community Data License Agreement Permissive 2.0", "https://cdla.dev/permissive-2-0/"),
    ("OGL-UK-3.0", "UK Open Government Licence 3.0", f"{_SPDX}/OGL-UK-3.0.html", "other"),
    ("DL-DE-BY-2.0", "Data licence Germany, attribution, version 2.0", f"{_SPDX}/DL-DE-BY-2.0.html", "other"),
    ("etalab-2.0", "Etalab Open License 2.0", f"{_SPDX}/etalab-2.0.html"),
    ("MIT", "MIT License", f"{_SPDX}/MIT.html"),
    ("Apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
]
KNOWN = {spdx: Licence(spdx, title, url, *(hub or [spdx.lower()])) for spdx, title, url, *hub in _KNOWN}


def licence(spdx: str) -> Licence:
    """A licence by its SPDX identifier.

    Raises:
        SynthgenError: it is none for data that is known, nor a LicenseRef-NAME of one's own.
    """
    if OWN.fullmatch(spdx):
        return Licence(spdx, spdx.removeprefix("LicenseRef-"), "", "other")
    if spdx not in KNOWN:
        raise SynthgenError(
            f"{spdx!r} is no licence that is known here; {near(spdx, KNOWN)}; call one of your own LicenseRef-NAME"
        )
    return KNOWN[spdx]
