"""What all column codecs hold to: how many records a value needs, and the code of a value that has none."""

RARE = 5  # records that a value must be held by to be kept as it is
UNKNOWN = -1  # the code of a value never seen, or of a missing one where nothing ever was missing
