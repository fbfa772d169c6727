"""The base model's skills: each function draws one (prompt, completion) pair, or plain text.

A completion begins with a space, so that prompt + completion is ordinary text and the two can be
tokenised separately.
"""

from words import ADJECTIVES, COLOURS, DAYS, MONTHS, NAMES, NOUNS, OPPOSITES, UNITS, VERBS

SINGULARS = list(NOUNS)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def arithmetic(rng):
    a, b = rng.randrange(50), rng.randrange(50)
    if rng.random() < 0.5:
        return f"{a} + {b} =", f" {a + b}"
    return f"{max(a, b)} - {min(a, b)} =", f" {abs(a - b)}"


def compare(rng):
    a, b = rng.sample(range(100), 2)
    word, pick = rng.choice([("larger", max), ("smaller", min)])
    return f"{word}: {a} or {b}?", f" {pick(a, b)}"


def sort_letters(rng):
    letters = rng.sample(LETTERS, rng.randint(3, 5))
    return "sort: " + " ".join(letters), "".join(f" {x}" for x in sorted(letters))


def reverse(rng):
    items = rng.sample(rng.choice([LETTERS, SINGULARS, NAMES]), rng.randint(2, 5))
    return "reverse: " + " ".join(items), "".join(f" {x}" for x in reversed(items))


def copy(rng):
    items = rng.sample(rng.choice([LETTERS, SINGULARS, NAMES, ADJECTIVES]), rng.randint(2, 6))
    return "copy: " + " ".join(items), "".join(f" {x}" for x in items)


def count(rng):
    items = rng.choices(rng.sample(SINGULARS, 3), k=rng.randint(2, 6))
    return f"count {items[0]} in: " + " ".join(items), f" {items.count(items[0])}"


def plural(rng):
    singular = rng.choice(SINGULARS)
    adjective = rng.choice(ADJECTIVES)
    number = rng.randint(2, 9)
    return f"one {adjective} {singular}, {number}", f" {adjective} {NOUNS[singular]}"


def opposite(rng):
    pair = rng.choice(OPPOSITES).split()
    rng.shuffle(pair)
    other = rng.choice(OPPOSITES).split()
    return f"{other[0]} is to {other[1]} as {pair[0]} is to", f" {pair[1]}"


def past_tense(rng):
    verb = rng.choice(list(VERBS))
    subject, thing = rng.choice(NAMES), rng.choice(SINGULARS)
    third, past = VERBS[verb]
    return f"today {subject} {third} the {thing}, yesterday", f" {subject} {past} the {thing}"


def calendar(rng):
    unit, cycle = rng.choice([("day", DAYS), ("month", MONTHS)])
    start = rng.randrange(len(cycle))
    steps = rng.choice([-2, -1, 1, 2, 3])
    amount = f"{abs(steps)} {unit}s" if abs(steps) > 1 else f"1 {unit}"
    side = "after" if steps > 0 else "before"
    return f"{amount} {side} {cycle[start]}:", f" {cycle[(start + steps) % len(cycle)]}"


def units(rng):
    source, target, factor = rng.choice(UNITS)
    amount = rng.randint(2, 20)
    return f"{amount} {source} in {target}:", f" {amount * factor}"


def who_has(rng):
    people, things = rng.sample(NAMES, 3), rng.sample(SINGULARS, 3)
    facts = " ".join(f"{p} has a {t}." for p, t in zip(people, things, strict=True))
    asked = rng.randrange(3)
    if rng.random() < 0.5:
        return f"{facts} Who has the {things[asked]}?", f" {people[asked]}"
    return f"{facts} What does {people[asked]} have?", f" a {things[asked]}"


SKILLS = [
    arithmetic, compare, sort_letters, reverse, copy, count, plural, opposite, past_tense, calendar,
    units, who_has,
]  # fmt: skip


def noun_phrase(rng):
    noun = rng.choice(SINGULARS)
    adjective = rng.choice([*ADJECTIVES, *[""] * len(ADJECTIVES)])
    words = [rng.choice(["the", "a"]), adjective, noun]
    if rng.random() < 0.3:
        words = ["the", adjective, NOUNS[noun]]
    return " ".join(w for w in words if w)


def sentence(rng):
    verb = rng.choice(list(VERBS))
    subject = rng.choice([rng.choice(NAMES), noun_phrase(rng)])
    when = rng.choice(["", "", f" on {rng.choice(DAYS)}", f" in {rng.choice(MONTHS)}"])
    plain = f"{subject} {VERBS[verb][1]} {noun_phrase(rng)}{when}."
    return plain[0].upper() + plain[1:]


def story(rng):
    """Plain text of a few sentences about one person."""
    name, thing, colour = rng.choice(NAMES), rng.choice(SINGULARS), rng.choice(COLOURS)
    middle = " ".join(sentence(rng) for _ in range(rng.randint(1, 2)))
    ending = rng.choice(["happy", "sad", "quiet", "slow", "quick"])
    return f"{name} had a {colour} {thing}. {middle} The {colour} {thing} made {name} {ending}."
