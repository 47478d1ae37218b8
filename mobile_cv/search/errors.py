"""The one kind of user error of the search."""


class SearchError(ValueError):
    """A space, table, data set or setting that cannot be used.

    The message is one line that names the thing and the remedy; commands print it and exit with status 2.
    """
