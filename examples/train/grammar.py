"""A tiny text grammar: [a|b|c] picks one branch (nesting allowed), {x} fills a variable."""
import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_START = re.compile(r'(^|[.!?] |[.!?]"? "|^")([a-z])')
# A closing quote: `."` ends the sentence; after `!"` or `?"` a tag such as `said Tom` may follow.
_QUOTE = re.compile(r'([.!?]" )(?!(?<=[!?]" )(?:the \w+ |his \w+ |her \w+ |he |she |they |everyone )?'
                    r'(?:said|asked|shouted|cried|thought|wondered)\b)([a-z])')
_AN = re.compile(r"\b([Aa]) (?=[aeio]|u(?!n[it]|se))(?!one\b)")


class Grammar:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def pick(self, xs):
        return xs[int(self.rng.random() * len(xs))]

    def chance(self, p):
        return self.rng.random() < p

    def choose(self, s):
        """Resolve [a|b] choices, innermost first."""
        while "[" in s:
            s = _CHOICE.sub(lambda m: self.pick(m.group(1).split("|")), s)
        return s

    def text(self, s, v=None):
        """Resolve choices and variables until none are left."""
        for _ in range(6):
            s = self.choose(s)
            if "{" not in s:
                break
            s = s.format_map(v)
        return s


def _cap(m):
    return m.group(1) + m.group(2).upper()


def tidy(s):
    """One space between words, 'an' before vowels, capitals at sentence starts."""
    s = re.sub(r"\s+", " ", s).strip()
    s = re.sub(r" ([.,!?])", r"\1", s)
    s = _AN.sub(lambda m: m.group(1) + "n ", s)
    return _QUOTE.sub(_cap, _START.sub(_cap, s))
