"""`find`: from images and a budget to a file that can be deployed, in one job."""

from fpnas.finder.job import find
from fpnas.finder.rows import Found, Row

__all__ = ["Found", "Row", "find"]
