"""Measure both demo models. Prints one report.

    python3 eval.py [--lm DIR] [--classifier DIR] [--quick]"""
import argparse
import json
import math
import re
import time

import torch
import torch.nn.functional as F

import bert
import bpe
import llama
import safetensors_io
import train_classifier
import wordpiece
from chat import CAPITALS, Chat
from corpus import ASSISTANT, Corpus, END, USER
from grammar import Grammar
from reviews import Reviews
from stories import Storyteller


def load(path, dtype=torch.float32):
    c = json.load(open(f"{path}/config.json"))
    return c, {k: torch.from_numpy(v).to(dtype) for k, v in safetensors_io.load(f"{path}/model.safetensors").items()}


def ask(w, c, tok, question, n=40, temperature=0.0, gen=None):
    ids = tok.encode_with_specials(USER + question + END + ASSISTANT)
    return tok.decode(llama.generate(w, c, ids, n, tok.special[END], temperature, gen)).replace(END, "")


@torch.no_grad()
def document_loss(w, c, tok, docs):
    nll = count = chars = 0
    for d in docs:
        ids = torch.tensor([tok.encode_doc(d)])
        nll += F.cross_entropy(llama.forward(w, c, ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
        chars += sum(len(t) for special, t in d if not special)
    return nll / count, nll / math.log(2) / chars, count


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--lm", default="../demo-lm")
    ap.add_argument("--classifier", default="../demo-classifier")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--only", default="both")
    a = ap.parse_args()
    torch.set_num_threads(1)
    n = 60 if a.quick else 300

    if a.only != "classifier":
        c, w = load(a.lm)
        tok = bpe.Tokenizer(f"{a.lm}/tokenizer.json")
        held = Corpus(seed=4321, held=True)
        loss, bpc, count = document_loss(w, c, tok, [held.document() for _ in range(n)])
        print(f"LM held-out mixture: loss {loss:.4f} per token, perplexity {math.exp(loss):.3f}, {bpc:.3f} bits per character, {count} tokens")
        g = Grammar(555)
        teller = Storyteller(g, held=True)
        chat = Chat(g, teller)
        loss, bpc, count = document_loss(w, c, tok, [[(0, teller.story(plot="solves")), (1, END)] for _ in range(n // 2)])
        print(f"LM stories with held-out (hero, object) pairs: loss {loss:.4f}, perplexity {math.exp(loss):.3f}, {bpc:.3f} bits per character, {count} tokens")

        good = sum(ask(w, c, tok, f"What is the capital of {k}?").strip(".").find(v) >= 0 for k, v in CAPITALS.items())
        print(f"capitals: {good}/{len(CAPITALS)}")
        good = bad = 0
        wrong = []
        for _ in range(n):
            q, r = chat.fact()
            reply = ask(w, c, tok, q)
            # the same fact may be worded in two ways, so compare the words
            ok = sorted(re.findall(r"\w+", reply.lower())) == sorted(re.findall(r"\w+", r.lower()))
            good += ok
            if not ok:
                wrong.append((q, reply, r))
        print(f"fact questions answered exactly: {good}/{n}")
        for q, reply, r in wrong[:12]:
            print("    ", q, "->", reply, "| wanted:", r)
        sums = [(x, y) for x in range(13) for y in range(13)]
        if a.quick:
            sums = sums[::5]
        good = sum(ask(w, c, tok, f"What is {x} + {y}?") == f"{x} plus {y} is {x + y}." for x, y in sums)
        print(f"sums 0..12 + 0..12: {good}/{len(sums)}")
        m, hero, obj = (10 if a.quick else 40), 0, 0
        for _ in range(m):
            while True:
                q, _ = chat.ask_story()
                found = re.search(r"about (?:an? )?(?:\w+ (?:named|called) )?(\w+) and an? ([\w ]+?)[.?]?$", q)
                if found:
                    break
            s = ask(w, c, tok, q, 200)
            hero += found.group(1) in s
            obj += found.group(2) in s
        print(f"story requests (held-out pairs): hero named in {hero}/{m}, object in {obj}/{m}")
        gen = torch.Generator().manual_seed(7)
        for t in (0.0, 0.7):
            print(f"--- samples at temperature {t}")
            for p in ("Once upon a time", "Lily found a", "One day, a little dragon"):
                print(f"[{p}]" + tok.decode(llama.generate(w, c, tok.encode(p), 220, tok.special[END], t, gen)))
            for q in ("Tell me a story about a fox and a lantern.", "Tell me a story about a robot and a spaceship.", "What is the capital of France?", "What colour is the sky?", "What is the opposite of hot?", "What is 3 + 4?", "What do bees make?", "Hello!", "Who will win the race tomorrow?"):
                print(f"[{q}] {ask(w, c, tok, q, 220, t, gen)}")

    if a.only != "lm":
        c, w = load(a.classifier)
        train_classifier.CONFIG.update(c)
        tok = wordpiece.Tokenizer.load(f"{a.classifier}/vocab.txt")
        sets = {h: [x.sentence() for _ in range(2000)] for h in ("words", "templates") for x in [Reviews(4321, h)]}
        sets["handwritten"] = train_classifier.read_tsv("handwritten.tsv")
        for name, rows in sets.items():
            acc, bad = train_classifier.accuracy(w, tok, rows)
            print(f"classifier {name}: {len(rows) - len(bad)}/{len(rows)} = {100 * acc:.2f} %")
            for s, p in bad[:10]:
                print("    wrong:", s, "| label", "POSITIVE" if p else "NEGATIVE")


if __name__ == "__main__":
    main()
