"""Word lists shared by the base model's skills and the invented language."""

NAMES = """Anna Ben Clara David Emma Frank Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam
Tina Victor Alice Bruno Celia Dora Edgar Fiona Georg Hugo Irene Jonas Lydia Martin Nora Oscar
Petra Quentin Ruth Simon Thomas Ursula Vera Walter Xenia Yusuf Zoe""".split()
# Singular and plural; the irregular ones are listed like the others.
NOUNS = {
    "cat": "cats", "dog": "dogs", "bird": "birds", "horse": "horses", "fish": "fish",
    "child": "children", "man": "men", "woman": "women", "mouse": "mice", "fox": "foxes",
    "king": "kings", "baker": "bakers", "farmer": "farmers", "teacher": "teachers",
    "tree": "trees", "house": "houses", "boat": "boats", "ball": "balls", "box": "boxes",
    "book": "books", "lamp": "lamps", "stone": "stones", "river": "rivers", "apple": "apples",
    "knife": "knives", "leaf": "leaves", "city": "cities", "baby": "babies", "cup": "cups",
    "bridge": "bridges", "goose": "geese", "wolf": "wolves", "tooth": "teeth", "foot": "feet",
    "chair": "chairs", "table": "tables", "door": "doors", "window": "windows", "key": "keys",
    "coat": "coats", "hat": "hats", "shoe": "shoes", "berry": "berries", "sheep": "sheep",
    "potato": "potatoes", "church": "churches", "bus": "buses", "road": "roads",
    "flower": "flowers", "cloud": "clouds",
}  # fmt: skip
ADJECTIVES = """red blue green black white small big old young tall happy sad quick slow warm cold
round quiet""".split()
# Base form, third person, past.
VERBS = {
    "see": ("sees", "saw"), "find": ("finds", "found"), "like": ("likes", "liked"),
    "follow": ("follows", "followed"), "carry": ("carries", "carried"),
    "paint": ("paints", "painted"), "hear": ("hears", "heard"), "take": ("takes", "took"),
    "help": ("helps", "helped"), "watch": ("watches", "watched"), "buy": ("buys", "bought"),
    "draw": ("draws", "drew"), "push": ("pushes", "pushed"), "hold": ("holds", "held"),
    "lose": ("loses", "lost"), "bring": ("brings", "brought"), "call": ("calls", "called"),
    "know": ("knows", "knew"), "want": ("wants", "wanted"), "keep": ("keeps", "kept"),
    "wash": ("washes", "washed"), "choose": ("chooses", "chose"), "sell": ("sells", "sold"),
    "hide": ("hides", "hid"),
}  # fmt: skip
OPPOSITES = """big small|old young|happy sad|quick slow|warm cold|hot cool|up down|left right|
open closed|early late|full empty|high low|near far|light dark|hard soft|rich poor|wet dry|
strong weak|loud quiet|clean dirty|first last|long short|wide narrow|day night|north south|
east west|summer winter|black white|true false|begin end""".replace("\n", "").split("|")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November
December""".split()
COLOURS = "red blue green black white".split()
# From, to, factor.
UNITS = [
    ("metres", "centimetres", 100), ("kilometres", "metres", 1000), ("hours", "minutes", 60),
    ("minutes", "seconds", 60), ("weeks", "days", 7), ("days", "hours", 24), ("years", "months", 12),
    ("kilograms", "grams", 1000), ("dozen", "pieces", 12), ("euros", "cents", 100),
]  # fmt: skip
