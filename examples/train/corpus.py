"""The mixed language-model corpus: a stream of documents as lists of (is_special, text) pieces."""
import re
from grammar import Grammar
from stories import Storyteller
from chat import Chat

BOS, END, USER, ASSISTANT = "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"
SPECIALS = [BOS, END, USER, ASSISTANT]


class Corpus:
    """held=True draws from the (hero, object) pairs that training never sees.
    drill=True is the finishing mixture: more questions, and more of them sums and yes/no questions."""
    def __init__(self, seed, held=False, drill=False):
        self.g = Grammar(seed)
        self.teller = Storyteller(self.g, held)
        self.chat = Chat(self.g, self.teller, drill)
        self.shares = (0.22, 0.25, 0.40) if drill else (0.42, 0.47, 0.68)

    def document(self):
        g = self.g
        x = g.rng.random()
        if x < self.shares[0]:
            s = self.teller.story()
            if g.chance(0.08):           # now and then start in the middle
                parts = re.split(r"(?<=[.]) ", s)
                s = " ".join(parts[g.rng.randrange(1, max(2, len(parts) // 2)):])
            doc = [(0, s), (1, END)]
        elif x < self.shares[1]:
            doc = [(0, self.chat.paragraph()), (1, END)]
        else:
            doc = []
            for q, r in (self.chat.story_chat() if x < self.shares[2] else self.chat.dialogue()):
                doc += [(1, USER), (0, q), (1, END), (1, ASSISTANT), (0, r), (1, END)]
        return ([(1, BOS)] if g.chance(0.5) else []) + doc


def plain(doc):
    return "".join(t for special, t in doc if not special or t != BOS)


if __name__ == "__main__":
    c = Corpus(7)
    for _ in range(40):
        print(plain(c.document()), "\n")
