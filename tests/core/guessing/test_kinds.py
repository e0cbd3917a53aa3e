"""Roles by the words of well-known trackers and logs."""

from __future__ import annotations

import doctest

import pytest

from stream_worker.core.guessing import kinds
from stream_worker.core.guessing.kinds import role_of


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(kinds).failed == 0


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("view", "view click Product Viewed|view_item|detail-page-view|product_view|play|watch"),
        ("cart", "cart|addtocart|add_to_cart|Product Added|add-to-cart|product.add_to_basket"),
        ("remove", "remove_from_cart|Product Removed|unlike"),
        ("purchase", "purchase|transaction|Order Completed|buy|bought|purchase-complete|orders/create"),
        ("rating", "rating|rate|Product Reviewed"),
        ("impression", "impression|view_item_list|Product List Viewed|list_view"),
        ("ignore", "refund|begin_checkout|Order Refunded|Order Cancelled|view_cart"),
        ("", "page|identify|scroll|session_start|wishlist|share"),
    ],
)
def test_a_word_speaks_of_a_role(role: str, names: str) -> None:
    assert {name: role_of(name) for name in names.split("|")} == dict.fromkeys(names.split("|"), role)
