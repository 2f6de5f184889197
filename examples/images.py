"""Fit on a folder of images, generate 100 and show them on a sheet. Without a folder: on handwritten digits.

python examples/images.py [FOLDER] [SHEET]
"""

import sys

from sklearn.datasets import load_digits

from synthgen import Synthesizer
from synthgen.data import Images, ImageSchema, write, write_sheet


def digits() -> Images:
    """1797 digits of 8 x 8 pixels, whose values are 0 to 16."""
    pixels, labels = load_digits(return_X_y=True)
    schema = ImageSchema(mode="L", height=8, width=8, classes=tuple("0123456789"))
    return Images((pixels * 255 / 16).astype("uint8").reshape(-1, 8, 8, 1), labels, schema)


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "digits"
    sheet = sys.argv[2] if len(sys.argv) > 2 else "sheet.png"
    if len(sys.argv) == 1:
        write(digits(), source)  # a folder for each class
    synthesizer = Synthesizer("gmm").fit(source)  # within seconds; "diffusion" comes closer and takes longer
    write_sheet(sheet, synthesizer.generate(100), columns=10, scale=4)
    print(f"{sheet}: 100 images like those of {source}")
