"""Pages one looks at in a browser: one HTML file each, which loads nothing, in one style.

A page is a title and sections; what is untrusted (names in a net, paths) enters as text that `element` escapes, or as
JSON. Rooms make sections of what they know, and `render` puts them together.
"""

from caffe2_common.pages.charts import Bar, Legend, Line, Point, Track, bars, key_of, scatter
from caffe2_common.pages.markup import Markup, element, join
from caffe2_common.pages.page import Section, notes, render
from caffe2_common.pages.tables import Cell, Column, table

__all__ = [
    "Bar",
    "Cell",
    "Column",
    "Legend",
    "Line",
    "Markup",
    "Point",
    "Section",
    "Track",
    "bars",
    "element",
    "join",
    "key_of",
    "notes",
    "render",
    "scatter",
    "table",
]
