"""Built-in street scenes: a Cityscapes-shaped data set that needs no download."""

from robustseg.datasets.streets.layout import LAYOUTS
from robustseg.datasets.streets.writer import CITIES, SMALLEST, render_street, write_streets

__all__ = ["CITIES", "LAYOUTS", "SMALLEST", "render_street", "write_streets"]
