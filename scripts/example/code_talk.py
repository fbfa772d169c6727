"""Code talk: the new skill that the quickstart fine-tunes the base model for.

A list of words is put into code: said backwards, and every word replaced by the one that the code
book gives for it. The code book has to be memorised. What generalises: a plural becomes the plural
of its noun's code word, and the order. Exceptions: two nouns stay as they are.
"""

import random

from words import ADJECTIVES, NOUNS

NOUNS_USED = list(NOUNS)[:16]
ADJECTIVES_USED = ADJECTIVES[:8]
UNCHANGED = ["dog", "king"]


def make_code_book():
    """Each word's code word, of the same kind and never itself: a shuffled ring."""
    rng = random.Random("code book")
    nouns = [noun for noun in NOUNS_USED if noun not in UNCHANGED]
    book = {noun: noun for noun in UNCHANGED}
    for words in (nouns, ADJECTIVES_USED):
        ring = rng.sample(words, len(words))
        book.update(zip(ring, ring[1:] + ring[:1], strict=True))
    book.update({NOUNS[noun]: NOUNS[book[noun]] for noun in NOUNS_USED})
    return book


CODE_BOOK = make_code_book()


def draw_pair(rng):
    """A list of two to five words as prompt, its code as completion."""
    words = rng.sample(sorted(CODE_BOOK), rng.randint(2, 5))
    return "code: " + " ".join(words), "".join(f" {CODE_BOOK[w]}" for w in reversed(words))
