"""Byte-level BPE: a small trainer, an encoder/decoder, and the Hugging Face tokenizer.json form."""
import json
import re
from collections import Counter, defaultdict

# The GPT-2 pattern, written for the ASCII text of this corpus.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_chars():
    """GPT-2's printable stand-in for each of the 256 bytes."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 256
    for b in range(256):
        if b in keep:
            table[b] = chr(b)
        else:
            table[b], extra = chr(extra), extra + 1
    return table


BYTE = byte_chars()
UNBYTE = {c: b for b, c in BYTE.items()}


def train(texts, n_merges):
    """Learn merges from word counts; ties go to the alphabetically first pair."""
    words = Counter()
    for t in texts:
        words.update(SPLIT.findall(t))
    seqs = [([BYTE[b] for b in w.encode()], n) for w, n in sorted(words.items())]
    pairs, where = Counter(), defaultdict(set)
    for i, (s, n) in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += n
            where[p].add(i)
    merges = []
    while len(merges) < n_merges and pairs:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] < 2:
            break
        merges.append(best)
        for i in list(where[best]):
            s, n = seqs[i]
            for p in zip(s, s[1:]):
                pairs[p] -= n
                where[p].discard(i)
            s = merge(s, best)
            seqs[i] = (s, n)
            for p in zip(s, s[1:]):
                pairs[p] += n
                where[p].add(i)
        pairs = +pairs
    return merges


def merge(s, pair):
    out, i = [], 0
    while i < len(s):
        if i + 1 < len(s) and (s[i], s[i + 1]) == pair:
            out.append(s[i] + s[i + 1])
            i += 2
        else:
            out.append(s[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self, path):
        j = json.load(open(path, encoding="utf-8"))
        self.vocab = j["model"]["vocab"]
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(j["model"]["merges"])}
        self.special = {t["content"]: t["id"] for t in j["added_tokens"]}
        self.names = {i: t for t, i in self.vocab.items()}
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            s = [BYTE[b] for b in w.encode()]
            while len(s) > 1:
                best = min(zip(s, s[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                s = merge(s, best)
            self.cache[w] = [self.vocab[t] for t in s]
        return self.cache[w]

    def encode(self, text):
        """Plain text only; special tokens are added by id."""
        return [i for w in SPLIT.findall(text) for i in self.word(w)]

    def encode_doc(self, pieces):
        ids = []
        for special, t in pieces:
            ids += [self.special[t]] if special else self.encode(t)
        return ids

    def encode_with_specials(self, text):
        parts = re.split("(" + "|".join(map(re.escape, self.special)) + ")", text)
        return self.encode_doc([(p in self.special, p) for p in parts if p])

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            t = self.names[i]
            out += t.encode() if t in self.special else bytes(UNBYTE[c] for c in t)
        return out.decode("utf-8", "replace")


def save(path, merges, specials):
    vocab = {t: i for i, t in enumerate(specials)}
    for t in [BYTE[b] for b in sorted(BYTE, key=lambda b: BYTE[b])] + [a + b for a, b in merges]:
        vocab.setdefault(t, len(vocab))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    json.dump({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, t in enumerate(specials)],
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": [f"{a} {b}" for a, b in merges]}},
        open(path, "w", encoding="utf-8"), ensure_ascii=False, indent=1)
    return len(vocab)
