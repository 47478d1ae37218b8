"""The zoo's one kind of user error."""


class ModelZooError(ValueError):
    """An unknown model, a definition that cannot be built, weights that cannot be had or do not fit.

    The message is one line that names the thing and the remedy; commands print it and exit with status 2.
    """
