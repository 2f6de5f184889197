"""Shards: a generation of any size as parts that can be made anywhere, in any order, each by itself."""

from synthgen.shards.engines import draw, make_all
from synthgen.shards.make import Part, Shards, load
from synthgen.shards.plan import FORMATS, Plan

__all__ = ["FORMATS", "Part", "Plan", "Shards", "draw", "load", "make_all"]
