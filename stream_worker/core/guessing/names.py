"""Scores of names: how much a field's name says that it holds a part of an event."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stream_worker.core.guessing.shapes import Values

# Names without case, blanks and signs -> score. Chosen by hand from well-known trackers and public logs, not tuned.
_NAMES: dict[str, dict[int, str]] = {
    "user": {
        10: "userid user customerid memberid visitorid shopperid buyerid userkey custid",
        8: "customer member visitor subscriberid playerid listenerid readerid viewerid personid uid reviewerid",
        6: "accountid profileid clientid userpseudoid anonymousid anonid domainuserid username guestid personname",
        4: "deviceid cookieid cookie networkuserid cartid carttoken email",
        2: "sessionid session",
    },
    "item": {
        10: "itemid item productid movieid articleid trackid songid videoid bookid stockcode",
        8: "product article asin parentasin contentid listingid newsid showid gameid recipeid isbn sku itemsku "
        "productsku itemcode productcode courseid hotelid podcastid",
        7: "itemsid",  # the id of what stands in an array of items
        6: "gtin ean offerid variantid postid adid objectid entityid",
        3: "itemname productname title url slug pageid",
    },
    "type": {
        10: "eventtype event eventname interactiontype actiontype",
        8: "action interaction behavior behaviour activity verb eventaction",
        7: "type kind",
    },
    "ts": {
        10: "timestamp ts eventtime eventtimestamp occurredat happenedat",
        8: "time datetime eventdate clienttime derivedtstamp truetstamp unixtime epoch tstamp",
        7: "createdat date orderdate purchasedat placedat created invoicedate orderedat viewedat",
        5: "sentat receivedat collectortstamp servertime loggedat",
        2: "processedat updatedat",
    },
    "value": {
        9: "rating stars",
        8: "price unitprice itemprice",
        6: "value amount score",
        3: "total revenue",
        2: "quantity",
    },
    "id": {10: "eventid messageid eventuuid", 8: "insertid uuid", 5: "id transactionid orderid"},
    "session": {10: "sessionid gasessionid domainsessionid", 8: "session visitid sessionkey"},
    "category": {
        9: "category categoryid itemcategory productcategory categorycode",
        6: "department genre producttype categoryname",
    },
}
_SCORES = {
    part: {name: score for score, names in table.items() for name in names.split()} for part, table in _NAMES.items()
}
# Names of ids that a visitor has before and after a login, and of the id before it.
_BEFORE_LOGIN = frozenset(["anonymousid", "anonid", "userpseudoid", "domainuserid", "clientid"])
_OLD_IDS = frozenset(["previousid", "previoususerid", "olduserid", "oldid", "fromuserid", "mergedid"])
_OF_ITEMS = re.compile(r"item|product|line|article|goods|basket|cart|content|entr|position", re.IGNORECASE)
_OTHER_ITEMS = re.compile(r"relat|recommend|suggest|similar|impress|seen|history|previous", re.IGNORECASE)


def name_score(part: str, values: Values) -> int:
    """Return how much a path's names speak for a part, from 0 to 10."""
    scores = _SCORES[part]
    best = max((scores.get(form, 0) for form in _forms(values)), default=0)
    if part == "item" and values.each and _OTHER_ITEMS.search(values.each):
        return min(best, 2)
    return best


def is_before_login(values: Values) -> bool:
    """Return True for ids that a visitor has whether or not he has logged in."""
    return not _BEFORE_LOGIN.isdisjoint(_forms(values))


def is_old_id(values: Values) -> bool:
    """Return True for an id that a user had before this record."""
    return not _OLD_IDS.isdisjoint(_forms(values))


def _forms(values: Values) -> Iterator[str]:
    """Yield what a path may be called: its last name, also after the name before it."""
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in values.names]
    if not names:
        return
    if values.path == ".":  # an element of an array: one of the product ids
        yield names[-1].removesuffix("s")
        return
    yield names[-1]
    if len(names) > 1:
        yield names[-2].removesuffix("s") + names[-1]
        if values.each and names[-1] in ("id", "code", "number", "key") and _OF_ITEMS.search(names[-2]):
            yield "itemsid"
