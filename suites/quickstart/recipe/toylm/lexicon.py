"""The words of the toy language.

The lists are short on purpose: a few hundred distinct words keep the vocabulary, and with it the
cost of every training step, small enough for two processor cores.
"""

from __future__ import annotations

NAMES = (
    "Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kira", "Leo",
    "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Zoe",
)  # fmt: skip

ITEMS = (
    "pears", "apples", "coins", "stamps", "shells", "buttons", "marbles", "cards", "plums",
    "pencils",
)  # fmt: skip

COLOURS = ("red", "blue", "green", "white", "black", "brown", "yellow", "grey")

OBJECTS = (
    "lamp", "box", "kite", "drum", "hat", "cup", "ball", "rope", "bell", "clock", "chair",
    "basket", "ladder", "mirror", "boat", "coat",
)  # fmt: skip

PREPOSITIONS = ("behind", "under", "near", "inside")

PLACE_ADJECTIVES = ("old", "wooden", "small", "stone", "tall", "round")

PLACES = (
    "mill", "bridge", "barn", "tower", "garden shed", "church", "bakery", "stable",
    "school hall", "well", "harbour wall", "cellar",
)  # fmt: skip

PLAN_VERBS = ("paint", "clean", "sell", "repair", "measure", "draw")

PLAN_OBJECTS = (
    "garden gate", "kitchen table", "fence", "big cart", "roof", "heavy door", "old piano",
    "window", "bench", "iron stove",
)  # fmt: skip

VILLAGES = ("Oakham", "Ford", "Elmby", "Marsh End", "Thornhill", "Westwick")

WEATHER = ("cold", "warm", "rainy", "windy", "sunny", "foggy")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

PROPERTIES = ("kind", "brave", "quiet", "clever", "honest", "patient", "cheerful", "careful")

# What each trade works with, makes and where: the only "knowledge" that stories ask for.
TRADES: dict[str, tuple[str, str, str]] = {
    "baker": ("oven", "bread", "bakery"),
    "farmer": ("plough", "wheat", "field"),
    "tailor": ("needle", "shirts", "workshop"),
    "smith": ("hammer", "nails", "forge"),
    "fisher": ("net", "fish", "harbour"),
    "potter": ("wheel", "bowls", "studio"),
    "miller": ("sieve", "flour", "mill"),
    "doctor": ("bandage", "medicine", "hospital"),
    "teacher": ("chalk", "lessons", "school"),
    "gardener": ("spade", "roses", "garden"),
    "painter": ("brush", "pictures", "gallery"),
    "cook": ("spoon", "soup", "kitchen"),
    "carpenter": ("saw", "tables", "shed"),
    "weaver": ("loom", "cloth", "attic"),
    "printer": ("press", "books", "cellar"),
    "barber": ("razor", "wigs", "square"),
}

# A comparative, then its opposite, its own superlative and the superlative of the opposite.
RELATIONS: dict[str, tuple[str, str, str]] = {
    "taller": ("shorter", "tallest", "shortest"),
    "older": ("younger", "oldest", "youngest"),
    "faster": ("slower", "fastest", "slowest"),
    "stronger": ("weaker", "strongest", "weakest"),
}
