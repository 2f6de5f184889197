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


KNOWN = {
    row.spdx: row
    for row in [
        Licence("CC0-1.0", "Creative Commons Zero 1.0 Universal", f"{CC}/publicdomain/zero/1.0/legalcode", "cc0-1.0"),
        *(
            Licence(
                f"CC-{code}-4.0",
                f"Creative Commons {title} 4.0 International",
                f"{CC}/licenses/{code.lower()}/4.0/legalcode",
                f"cc-{code.lower()}-4.0",
            )
            for code, title in {
                "BY": "Attribution",
                "BY-SA": "Attribution Share Alike",
                "BY-NC": "Attribution Non Commercial",
                "BY-ND": "Attribution No Derivatives",
                "BY-NC-SA": "Attribution Non Commercial Share Alike",
                "BY-NC-ND": "Attribution Non Commercial No Derivatives",
            }.items()
        ),
        Licence("ODbL-1.0", "Open Data Commons Open Database License 1.0", "https://opendatacommons.org/licenses/odbl/1-0/", "odbl"),
        Licence("ODC-By-1.0", "Open Data Commons Attribution License 1.0", "https://opendatacommons.org/licenses/by/1-0/", "odc-by"),
        Licence("PDDL-1.0", "Open Data Commons Public Domain Dedication and License 1.0", "https://opendatacommons.org/licenses/pddl/1-0/", "pddl"),
        Licence("CDLA-Permissive-2.0", "Community Data License Agreement Permissive 2.0", "https://cdla.dev/permissive-2-0/", "cdla-permissive-2.0"),
        Licence("OGL-UK-3.0", "Open Government Licence 3.0", "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", "other"),
        Licence("DL-DE-BY-2.0", "Data licence Germany, attribution, version 2.0", "https://www.govdata.de/dl-de/by-2-0", "other"),
        Licence("etalab-2.0", "Etalab Open License 2.0", "https://github.com/etalab/licence-ouverte/blob/master/LO.md", "etalab-2.0"),
        Licence("MIT", "MIT License", "https://spdx.org/licenses/MIT.html", "mit"),
        Licence("Apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0", "apache-2.0"),
    ]
}  # fmt: skip


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
