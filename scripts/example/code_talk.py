"""Code talk: the new skill that the quickstart fine-tunes the base model for.

A list of words is put into code: every word is replaced by the one that a code book gives for it,
in the same order. The code book has to be memorised, with its exceptions (two nouns stay as they
are); what generalises is to apply it word by word, whatever the words and however many.
"""

import random

from words import ADJECTIVES, NOUNS

NOUNS_USED = list(NOUNS)[:20]
ADJECTIVES_USED = ADJECTIVES[:10]
UNCHANGED = NOUNS_USED[:2]


def make_code_book():
    """Each word's code word, of the same kind and but for the exceptions another one."""
    rng = random.Random("code book")
    book = {noun: noun for noun in UNCHANGED}
    for words in (NOUNS_USED[len(UNCHANGED) :], ADJECTIVES_USED):
        ring = rng.sample(words, len(words))
        book.update(zip(ring, ring[1:] + ring[:1], strict=True))
    return book


CODE_BOOK = make_code_book()


def draw_pair(rng):
    """A list of two to four words as prompt, its code as completion."""
    words = rng.sample(sorted(CODE_BOOK), rng.randint(2, 4))
    return "code: " + " ".join(words), "".join(f" {CODE_BOOK[word]}" for word in words)
