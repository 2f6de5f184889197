"""Pictures in rows, as PNG in the page itself."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from synthgen.report.blocks import Gallery
from synthgen.report.charts.svg import tag
from synthgen.report.charts.words import named, prose

SMALL, LARGE = 56, 128  # pixels: smaller pictures are enlarged, larger ones reduced


def gallery(block: Gallery) -> Markup:
    """A table of pictures, with the caption of each row at its left."""
    head = tag("tr", tag("td"), *(tag("th", named(name), scope="col") for name in block.columns))
    rows = (_row(block, i, caption) for i, caption in enumerate(block.captions))
    caption = tag("caption", prose(block.title), class_="hidden")
    parts = (tag("thead", head) if block.columns else "", tag("tbody", *rows))
    return tag("table", caption, *parts, class_="gallery")


def _row(block: Gallery, i: int, caption: str) -> Markup:
    cells = (tag("td", _picture(pixels, _alt(block, j, caption))) for j, pixels in enumerate(block.pictures[i]))
    return tag("tr", tag("th", named(caption, 80), scope="row"), *cells)


def _alt(block: Gallery, column: int, caption: str) -> str:
    heading = block.columns[column] if column < len(block.columns) else f"picture {column + 1}"
    return prose(f"{caption}: {heading}")


def _picture(pixels: NDArray[np.uint8], alt: str) -> Markup:
    image = _sized(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    return tag("img", src=data_uri(image), alt=alt, width=image.width, height=image.height)


def _sized(image: Image.Image) -> Image.Image:
    """The image with each pixel as a square, or reduced where it is large."""
    longest = max(image.size)
    if longest > LARGE:
        image.thumbnail((LARGE, LARGE))
        return image
    scale = -(-SMALL // longest) if longest < SMALL else 1
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def data_uri(image: Image.Image) -> str:
    """The image as a PNG that is its own address."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
