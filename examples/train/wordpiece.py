"""WordPiece: trainer, encoder and the Hugging Face tokenizer.json form (lower-casing BERT)."""
import json
import re
import unicodedata
from collections import Counter, defaultdict

from bpe import merge as _merge

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def words_of(text):
    """BertNormalizer (lower case, accents removed) and BertPreTokenizer (spaces, single punctuation marks)."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", text)


def join(a, b):
    return a + b[2:]


def train(texts, size):
    """Merge the most frequent neighbouring pieces until the vocabulary is full."""
    words = Counter(w for t in texts for w in words_of(t))
    alphabet = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    vocab = SPECIALS + alphabet + ["##" + c for c in alphabet if c.isalnum()]
    seqs = [([w[0]] + ["##" + c for c in w[1:]], n) for w, n in sorted(words.items())]
    pairs, where = Counter(), defaultdict(set)
    for i, (s, n) in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += n
            where[p].add(i)
    seen = set(vocab)
    while len(vocab) < size and pairs:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        new = join(*best)
        if new not in seen:
            seen.add(new)
            vocab.append(new)
        for i in list(where[best]):
            s, n = seqs[i]
            for p in zip(s, s[1:]):
                pairs[p] -= n
                where[p].discard(i)
            s = [new if x == best[0] + best[1] else x for x in _merge(s, best)]
            seqs[i] = (s, n)
            for p in zip(s, s[1:]):
                pairs[p] += n
                where[p].add(i)
        pairs = +pairs
    return vocab


class Tokenizer:
    def __init__(self, vocab):
        self.vocab = {t: i for i, t in enumerate(vocab)}
        self.cache = {}

    @classmethod
    def load(cls, path):
        return cls(open(path, encoding="utf-8").read().splitlines())

    def word(self, w, limit=100):
        """Longest match first; `limit` caps the piece length (used to vary the split in training)."""
        key = (w, limit)
        if key not in self.cache:
            out, i = [], 0
            while i < len(w) and len(w) <= 100:
                for j in range(min(len(w), i + limit), i, -1):
                    t = ("##" if i else "") + w[i:j]
                    if t in self.vocab:
                        out.append(self.vocab[t])
                        i = j
                        break
                else:
                    break
            self.cache[key] = out if i == len(w) else [self.vocab["[UNK]"]]
        return self.cache[key]

    def encode(self, text, rng=None, p=0.0):
        """[CLS] text [SEP]. With rng, a word is cut into shorter pieces with probability p."""
        ids = [self.vocab["[CLS]"]]
        for w in words_of(text):
            ids += self.word(w, rng.randrange(2, 7)) if rng and rng.random() < p else self.word(w)
        return ids[:127] + [self.vocab["[SEP]"]]


def save(out, vocab):
    ids = {t: i for i, t in enumerate(vocab)}
    piece = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    seq = lambda i, t: {"Sequence": {"id": i, "type_id": t}}
    json.dump({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": ids[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for t in SPECIALS],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [piece("[CLS]"), seq("A", 0), piece("[SEP]")],
            "pair": [piece("[CLS]"), seq("A", 0), piece("[SEP]"), seq("B", 1), {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": ids}},
        open(f"{out}/tokenizer.json", "w", encoding="utf-8"), ensure_ascii=False, indent=1)
    open(f"{out}/vocab.txt", "w", encoding="utf-8").write("".join(t + "\n" for t in vocab))
    json.dump({"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "model_max_length": 128, "unk_token": "[UNK]", "sep_token": "[SEP]",
               "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}, open(f"{out}/tokenizer_config.json", "w"), indent=1)
