"""The check that the layers' whole numbers share."""


def whole(name: str, value: int, least: int) -> int:
    """Returns the value of the option `name`. Raises `ValueError` unless it is a whole number of `least` or more."""
    if value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {value}; try 2.")
    return int(value)
