"""Entity tags: an aggregate's version, in quotes."""


def etag(version: int) -> str:
    """Return the strong ETag of a version: ``"3"``."""
    return f'"{version}"'
