"""The opaque cursor of a list: the position of the last item seen, so that pages cost the same however deep."""

import base64
import binascii
import struct

# A version byte first: a cursor of another kind is refused instead of misread.
_FORMAT = struct.Struct(">BQ")
_VERSION = 1
MAX_POSITION = 2**63 - 1


class InvalidCursorError(ValueError):
    """A text that no page has given out."""

    def __init__(self) -> None:
        super().__init__("This cursor is not one that this list has given out; start without one.")


def encode_cursor(position: int) -> str:
    """Return the cursor that goes on below ``position``."""
    return base64.urlsafe_b64encode(_FORMAT.pack(_VERSION, position)).decode()


def decode_cursor(cursor: str) -> int:
    """Return the position that a cursor stands for; raises ``InvalidCursorError``."""
    try:
        version, position = _FORMAT.unpack(
            base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        )
    except (binascii.Error, struct.error, UnicodeEncodeError) as error:
        raise InvalidCursorError from error
    if version != _VERSION or not 0 < position <= MAX_POSITION:
        raise InvalidCursorError
    return int(position)
