"""Terms: what a person says of a release, all of which is published as it stands."""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

from synthgen.errors import SynthgenError
from synthgen.release.licences import Licence, licence

LONGEST = {"title": 200, "description": 5000, "publisher": 200, "source": 2000, "url": 2000}
FIGURE = re.compile(r"([εδ])\s*=\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")  # how documents write what is promised


class Terms(NamedTuple):
    """What a person says of a release.

    Attributes:
        title: a name for people.
        description: a paragraph.
        licence: an SPDX identifier.
        publisher: who answers for it.
        url: where it will be found.
        source: what may be said of the real data.
        date: of publication, as 2026-01-31.
        target: a column that is to be predicted.
    """

    title: str = ""
    description: str = ""
    licence: str = ""
    publisher: str = ""
    url: str = ""
    source: str = ""
    date: str = ""
    target: str = ""

    @property
    def name(self) -> str:
        """The title, which there always is."""
        return self.title or "Synthetic data"

    @property
    def slug(self) -> str:
        """The title as a file could be called."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "synthetic-data"

    @property
    def terms_of_use(self) -> Licence | None:
        """The licence, where one was named."""
        return licence(self.licence) if self.licence else None

    def check(self) -> None:
        """Raise SynthgenError where something said cannot be published so."""
        for name, most in LONGEST.items():
            said = getattr(self, name)
            if len(said) > most or any(not c.isprintable() and c != "\n" for c in said):
                raise SynthgenError(f"--{name} is one text of at most {most} characters, none of them invisible")
            if FIGURE.search(said):
                raise SynthgenError(f"--{name} states an ε or δ; leave it out, the release states its own")
        if "\n" in self.title + self.publisher + self.url + self.source:
            raise SynthgenError("--title, --publisher, --source and --url are one line each")
        if self.url and not re.fullmatch(r"https?://[^\s\"<>]+", self.url):
            raise SynthgenError(f"--url {self.url!r} is no address; it begins with https://")
        if self.date:
            try:
                if date.fromisoformat(self.date).isoformat() != self.date:
                    raise ValueError
            except ValueError:
                raise SynthgenError(f"--date {self.date!r} is no day; write it as 2026-01-31") from None
        if self.licence:
            licence(self.licence)
