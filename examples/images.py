"""Fit on a folder of images (without one: handwritten digits), generate 100, and show them on a sheet.

python examples/images.py [FOLDER] [SHEET]
"""

import sys

import synthgen
from synthgen.data import Images, ImageSchema, write_sheet

if len(sys.argv) == 1:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # 1797 of 8 x 8 pixels from 0 to 16
    schema = ImageSchema(mode="L", height=8, width=8, classes=tuple("0123456789"))
    synthgen.write(Images((pixels * 255 / 16).astype("uint8").reshape(-1, 8, 8, 1), labels, schema), "digits")
source, sheet = [*sys.argv[1:], "digits", "sheet.png"][:2] if len(sys.argv) != 2 else [sys.argv[1], "sheet.png"]

synthesizer = synthgen.Synthesizer("gmm").fit(source)  # in seconds; "diffusion" comes closer, in an hour or two
write_sheet(sheet, synthesizer.generate(100), columns=10, scale=4)
print(f"{sheet}: 100 images like those of {source}")
