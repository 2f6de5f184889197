"""Pictures out as a tar archive for WebDataset: `KEY.png` with its class as `KEY.cls` and, by name, in `KEY.json`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal

from synthgen.data.images import ImageSchema
from synthgen.data.marks import Mark
from synthgen.data.pictures_out import ImageWriter


def tarred(path: str | Path) -> bool:
    """Whether images written to a path become a tar archive."""
    return Path(path).suffix.lower() == ".tar"


class TarWriter(ImageWriter):
    """Writes images one set after the other into a `.tar`, which appears whole when the block ends.

    Members are in order and of no time and no owner, so that the same images are the same bytes.

    Args:
        path: of the archive.
        schema: of the images.
        mark: what each image says of itself.
        first: number of the first image; the key of each is its number.
    """

    def __init__(self, path: str | Path, schema: ImageSchema, mark: Mark | None = None, first: int = 0) -> None:
        super().__init__(path, schema, mark)
        self._written = first

    def _add(self, number: int, label: int, data: bytes) -> None:
        key = f"{number - 1:09d}"
        if self.schema.classes:
            self._put(f"{key}.cls", str(label).encode())
            self._put(f"{key}.json", json.dumps({"label": self.schema.classes[label]}, ensure_ascii=False).encode())
        self._put(f"{key}.png", data)

    def _open(self, temporary: Path, stack: ExitStack) -> Callable[[str, bytes], None]:
        archive = stack.enter_context(tarfile.TarFile(temporary, "w", format=tarfile.PAX_FORMAT))

        def put(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)  # mode 0644, time 0, owner 0
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        return put

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        return False
