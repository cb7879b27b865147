"""`find`: from images and a budget to a file that can be deployed, in one job."""

from fpnas.finder.job import Found, find
from fpnas.finder.rows import Row

__all__ = ["Found", "Row", "find"]
