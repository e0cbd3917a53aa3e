"""Roles of event types, by the words in their names."""

from __future__ import annotations

import re

from stream_worker.core.mapping.config import IGNORE

# The first pattern that is found in a name without case, blanks and signs decides.
_ROLES = (
    ("remove", r"remov|delet|unlike|unsave|discard"),
    (IGNORE, r"refund|cancel|begincheckout|checkoutstart|initiatecheckout|paymentinfo|shippinginfo|viewcart|cartview"),
    ("impression", r"impression|shown|display|exposure|listview|viewlist|viewitemlist|productlist"),
    (
        "purchase",
        r"purchase|transaction|bought|^buy|^order|order(ed|complete|placed|created|paid)|^sale|sold|conver|paid$",
    ),
    ("cart", r"cart|basket|tobag|(product|item)added|add(ed)?(product|item)"),
    ("rating", r"rating|^rate|review|stars"),
    ("view", r"view|click|detail|open|visit|watch|play|listen|read|browse|select|look|stream|seen"),
)


_LOGIN = re.compile(r"identify|^alias|alias$|log(ged)?in|sign(ed)?(in|up)|mergeusers?|usersmerged")


def is_login(name: str) -> bool:
    """Return True if the name of an event type says that a visitor has become a known user.

    >>> [is_login(name) for name in ("identify", "User Logged In", "sign_up", "page")]
    [True, True, True, False]
    """
    return _LOGIN.search(_folded(name)) is not None


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def role_of(name: str) -> str:
    """Return the role that the name of an event type speaks of; empty: none; "ignore" for what says nothing of an item
    that other events don't say.

    >>> [role_of(name) for name in ("addtocart", "Order Completed", "Product List Viewed", "page", "view_cart")]
    ['cart', 'purchase', 'impression', '', 'ignore']
    """
    folded = _folded(name)
    return next((role for role, pattern in _ROLES if re.search(pattern, folded)), "")
