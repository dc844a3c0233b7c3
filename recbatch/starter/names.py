"""What columns are called in the wild, best first, and how well a name fits a role."""

from __future__ import annotations

import re


def _list(words: str) -> list[str]:
    return words.split()


# The words for a user and for an item, the more telling ones first.
_USERS = _list("""
    user usr customer cust member visitor client account subscriber reviewer listener viewer reader player buyer
    shopper consumer person profile patron guest passenger patient student learner household msno rater kunde kunden
    nutzer benutzer utilisateur usuario cliente utente device cookie visit session
""")
_ITEMS = _list("""
    item product prod article sku asin movie film track song book isbn game video content show episode series recipe
    anime manga album artist restaurant business venue hotel property listing offer coupon creative ad advert news
    story post document doc page course lesson app job podcast channel playlist poi place location merchant material
    stock ean upc gtin plu artikel produkt produit producto prodotto
""")
_ID_ENDINGS = _list("id ids key code no nr num number uuid guid hash sk pk uri nummer idx index")
# Words that mean an id only together with an ending.
_WEAK = _list("device cookie visit session location place page stock channel material post app")
# Short or glued names that no rule would find.
_ALIASES = {
    "user": _list("uid u username login email"),
    "item": _list("iid pid i parentasin stockcode goodsid goods"),
}

_TIMES = _list("""
    timestamp eventtimestamp eventtime ts time datetime eventdatetime eventdate date unixreviewtime reviewtime
    unixtime epoch createdat created occurredat happenedat ratedat playedat listenedat watchedat viewedat clickedat
    purchasedat orderedat orderdate ordertime purchasedate purchasetime transactiondate transactiontime tdat
    invoicedate visittime visitdate checkintime day dt ds utctime eventts datum zeit zeitstempel zeitpunkt fecha t
""")
_TIME_ENDINGS = _list("timestamp time ts date datetime at on day utc epoch dt")
_OTHER_TIMES = _list("""
    updated modified load loaded etl ingested ingestion inserted processed exported birth birthday release released
    expiry expires end deleted
""")

_WEIGHTS = _list("""
    rating ratings stars star score overall grade weight strength confidence playcount plays play listencount
    listens listencounts watchcount viewcount clickcount interactioncount purchasecount count cnt frequency freq
    quantity qty units hours hoursplayed playtime watchratio watchtime listentime dwelltime duration implicit
    preference value bewertung anzahl menge r
""")
_WEIGHT_ENDINGS = _list("rating stars score weight count cnt qty quantity plays views clicks strength ratio")

_EVENTS = _list("""
    eventtype event eventname action actiontype behavior behaviour behaviortype behaviourtype interactiontype
    interaction activity activitytype feedbacktype verb operation signal type kind
""")
_LABELS = _list("title name label headline caption titel nom nombre")
# Whole numbers under such a name are names rather than amounts.
_CODES = _list("""
    zip zipcode postcode type class category genre cluster group segment region store brand country city state
    language gender sex occupation department section color colour size is has flag
""")


def words(name: str) -> list[str]:
    """The lower-case words of ``CustomerID``, ``customer_id``, ``customer-id`` or ``customer.id``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word for word in re.split(r"[^0-9a-zA-Z]+", spaced.lower()) if word]


def fits_id(name: str, entity: str) -> int:
    """How well a name fits the id of a ``user`` or ``item``: 0 (not at all) to 1000."""
    known = _USERS if entity == "user" else _ITEMS
    parts, glued = words(name), "".join(words(name))
    if glued in _ALIASES[entity]:
        return 900 - _ALIASES[entity].index(glued)
    ending = next((end for end in _ID_ENDINGS if glued.endswith(end) and glued[: -len(end)] in known), None)
    if len(parts) > 1 and parts[-1] in _ID_ENDINGS:
        word, score = next((part for part in reversed(parts[:-1]) if part in known), ""), 1000 - 100 * (len(parts) - 2)
    elif ending:
        word, score = glued[: -len(ending)], 1000
    else:
        word, score = parts[-1] if parts else "", 950 - 100 * (len(parts) - 1)
        known = [other if other not in _WEAK else "" for other in known]
    return max(score - known.index(word) * 4, 1) if word and word in known else 0


def fits_time(name: str) -> int:
    """How well a name fits the time of an event: 0 to 1000."""
    if set(words(name)) & set(_OTHER_TIMES):
        return 1
    return _fits(name, _TIMES, _TIME_ENDINGS)


def fits_weight(name: str) -> int:
    """How well a name fits the strength of an event: 0 to 1000."""
    return _fits(name, _WEIGHTS, _WEIGHT_ENDINGS)


def fits_event(name: str) -> int:
    """How well a name fits the type of an event: 0 to 1000."""
    return _fits(name, _EVENTS, [])


def fits_label(name: str) -> int:
    """How well a name fits a readable name of an item or user: 0 to 1000."""
    parts = words(name)
    return 1000 - len(parts) * 100 - _LABELS.index(parts[-1]) if parts and parts[-1] in _LABELS else 0


def is_code(name: str) -> bool:
    """Whether whole numbers under this name are names rather than amounts."""
    return not set(words(name)).isdisjoint([*_ID_ENDINGS, *_CODES])


def _fits(name: str, known: list[str], endings: list[str]) -> int:
    parts = words(name)
    glued = "".join(parts)
    if glued in known:
        return 1000 - known.index(glued)
    return 500 - len(parts) if parts and parts[-1] in endings else 0
