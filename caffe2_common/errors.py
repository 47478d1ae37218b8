"""The errors that users cause and can mend."""


class ModelError(ValueError):
    """Bad input: one line that names the file or blob, what is wrong and, where there is one, the remedy.

    Every command turns it into that line on stderr and exit status 2.
    """


class UnsupportedError(ModelError):
    """Something a file may hold but this package does not compute; lists all of it at once."""


class LaterError(ModelError):
    """What decides an operator's outputs is content that is known only when the net runs."""
