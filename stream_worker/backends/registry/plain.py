"""Plain values, as JSON has them, of the values that only Avro and Protobuf have."""

from __future__ import annotations

from decimal import Decimal

_MAX_DECIMAL_BYTES, _MAX_SCALE = 128, 1_000  # far above what any money needs; more would cost seconds to write down


def text_of(data: bytes) -> str:
    """Return bytes as text: what they say in UTF-8, else in hexadecimal digits."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex()


def decimal_text(unscaled: bytes, scale: int) -> str:
    """Return the decimal number `unscaled` / 10^`scale` as text.

    >>> decimal_text(b"\\x04\\xd2", 2)
    '12.34'
    """
    if len(unscaled) > _MAX_DECIMAL_BYTES or abs(scale) > _MAX_SCALE:
        raise ValueError(f"a decimal of {len(unscaled)} bytes with scale {scale}")
    number = int.from_bytes(unscaled, "big", signed=True)
    return format(Decimal(f"{number}E{-scale}"), "f")
