"""The rows a new shop starts with."""

from __future__ import annotations

from hashlib import sha256

CATEGORIES = [
    ("beans", "Coffee beans"),
    ("tea", "Tea"),
    ("brewers", "Brewers"),
    ("grinders", "Grinders"),
    ("cups", "Cups"),
    ("books", "Books"),
]

# name, category, price in cents, pieces in stock, description
PRODUCTS = [
    ("Yirgacheffe", "beans", 1490, 40, "Washed, from Ethiopia; jasmine and lemon. 250 g."),
    ("Sidamo natural", "beans", 1590, 25, "Dried in the fruit; blueberry. 250 g."),
    ("Huila", "beans", 1290, 60, "Washed, from Colombia; caramel and red apple. 250 g."),
    ("Antigua", "beans", 1390, 35, "Washed, from Guatemala; cocoa and orange. 250 g."),
    ("Nyeri AA", "beans", 1790, 18, "Washed, from Kenya; blackcurrant. 250 g."),
    ("Mantiqueira", "beans", 1090, 80, "Pulped natural, from Brazil; hazelnut. 250 g."),
    ("House espresso", "beans", 990, 120, "Brazil and Uganda; dark chocolate. 250 g."),
    ("Sencha", "tea", 1250, 30, "Steamed green tea from Uji. 100 g."),
    ("Genmaicha", "tea", 890, 45, "Green tea with roasted rice. 100 g."),
    ("Long Jing", "tea", 1890, 12, "Pan-fired green tea from Zhejiang. 50 g."),
    ("Darjeeling first flush", "tea", 1690, 20, "Spring picking of 2026. 100 g."),
    ("Assam", "tea", 790, 70, "Malty black tea, whole leaf. 100 g."),
    ("Tie Guan Yin", "tea", 1590, 16, "Oolong from Anxi, lightly roasted. 100 g."),
    ("Rooibos", "tea", 590, 90, "No caffeine. 100 g."),
    ("Pour-over cone", "brewers", 2400, 22, "Porcelain, for one or two cups."),
    ("Three-cup moka pot", "brewers", 2990, 15, "Aluminium, for gas and electric stoves."),
    ("French press", "brewers", 3490, 14, "Glass and steel, one litre."),
    ("Immersion dripper", "brewers", 2790, 9, "Steeps like a press, drains like a filter."),
    ("Siphon", "brewers", 8900, 3, "Borosilicate glass, with a spirit burner."),
    ("Cast-iron teapot", "brewers", 6500, 7, "Enamelled inside, with a strainer."),
    ("Gooseneck kettle", "brewers", 7900, 11, "Holds its temperature to one degree."),
    ("Hand grinder", "grinders", 8900, 13, "Steel burrs, 20 g."),
    ("Travel grinder", "grinders", 5900, 17, "Ceramic burrs, fits into a press."),
    ("Filter grinder", "grinders", 19900, 6, "Flat burrs of 64 mm, single dose."),
    ("Espresso grinder", "grinders", 34900, 4, "Conical burrs, stepless."),
    ("Spice mill", "grinders", 3900, 10, "For everything that is not coffee."),
    ("Espresso cup", "cups", 890, 66, "Thick porcelain, 70 ml, with saucer."),
    ("Cappuccino cup", "cups", 1090, 48, "Thick porcelain, 160 ml, with saucer."),
    ("Tasting bowl", "cups", 790, 36, "Porcelain, 220 ml, for cupping."),
    ("Travel mug", "cups", 2490, 28, "Steel, keeps warm for four hours."),
    ("Tea bowl", "cups", 3200, 8, "Raku, each one different."),
    ("Glass server", "cups", 1990, 19, "Borosilicate, 600 ml."),
    ("Coffee at home", "books", 2200, 21, "From the bean to the cup, in 200 pages."),
    ("The atlas of tea", "books", 3400, 12, "Gardens, pickings and makers of 30 countries."),
    ("Water for brewing", "books", 1800, 9, "Hardness, buffers and what they taste of."),
    ("Espresso, measured", "books", 2800, 5, "Extraction and how to see it."),
]

# name, token, staff
USERS = [
    ("ada", "ada-token", False),
    ("grace", "grace-token", False),
    ("linus", "staff-token", True),
]

BASKETS = [("ada", "Yirgacheffe", 2), ("grace", "Sencha", 1), ("grace", "Tea bowl", 2)]


def token_digest(token: str) -> str:
    """What the database keeps of a token."""
    return sha256(token.encode()).hexdigest()
