"""Write sample.txt, heldout.tsv and the two expected.json files (all results in float64)."""
import argparse
import json

import torch

import bert
import bpe
import llama
import train_classifier
import wordpiece
from corpus import END, Corpus, plain
from eval import load
from reviews import Reviews

PROMPTS = ["Once upon a time", "Lily found a", "One day, a little fox",
           "<|user|>Tell me a story about a fox and a lantern.<|end|><|assistant|>",
           "<|user|>What is the capital of France?<|end|><|assistant|>",
           "<|user|>What colour is the sky?<|end|><|assistant|>",
           "<|user|>What is the opposite of hot?<|end|><|assistant|>"]
SENTENCES = ["The food was not bad at all.", "The start was dull but the ending was superb.", "A gripping thriller with a brilliant cast.",
             "The waiter was rude and the soup was cold.", "Although the hotel looks lovely, the service was unbelievably slow!",
             "I don't regret buying this caf\u00e9 grinder: it works perfectly.", "Not worth the money."]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--lm", default="../demo-lm")
    ap.add_argument("--classifier", default="../demo-classifier")
    a = ap.parse_args()
    torch.set_num_threads(1)

    held, text = Corpus(seed=2026, held=True), ""
    while len(text) < 8000:
        text += plain(held.document()).strip() + "\n"
    open(f"{a.lm}/sample.txt", "w").write(text)

    c, w = load(a.lm, torch.float64)
    tok = bpe.Tokenizer(f"{a.lm}/tokenizer.json")
    out = []
    for p in PROMPTS:
        ids = tok.encode_with_specials(p)
        seq, margin, first = list(ids), 1e9, None
        with torch.no_grad():
            for _ in range(64):
                z = llama.forward(w, c, torch.tensor([seq]))[0, -1]
                first = z if first is None else first
                top = z.topk(2).values
                margin = min(margin, float(top[0] - top[1]))
                seq.append(int(z.argmax()))
                if seq[-1] == tok.special[END]:
                    break
        new = seq[len(ids):]
        out.append({"prompt": p, "input_ids": ids, "last_logits_first8": first[:8].tolist(), "last_logits_argmax": int(first.argmax()),
                    "last_logits_max": float(first.max()), "greedy_ids": new, "greedy_text": tok.decode(new), "greedy_min_margin": margin})
    json.dump({"note": "float64; greedy_ids stop after <|end|> or 64 tokens; greedy_min_margin is the smallest gap between the two largest logits", "cases": out},
              open(f"{a.lm}/expected.json", "w"), indent=1)

    c, w = load(a.classifier, torch.float64)
    train_classifier.CONFIG.update(c)
    wp = wordpiece.Tokenizer.load(f"{a.classifier}/vocab.txt")
    names, out = [k for k in wp.vocab], []
    for s in SENTENCES:
        ids = wp.encode(s)
        with torch.no_grad():
            z = bert.forward(w, c, torch.tensor([ids]))[0]
        out.append({"text": s, "tokens": [names[i] for i in ids], "input_ids": ids, "logits": z.tolist(), "label": c["id2label"][str(int(z.argmax()))]})
    json.dump({"note": "float64", "cases": out}, open(f"{a.classifier}/expected.json", "w"), indent=1)

    label = lambda p: "POSITIVE" if p else "NEGATIVE"
    rows = [x.sentence() for h in ("words", "templates") for x in [Reviews(2026, h)] for _ in range(100)]
    with open(f"{a.classifier}/heldout.tsv", "w") as f:
        for s, p in rows + train_classifier.read_tsv("handwritten.tsv"):
            f.write(f"{s}\t{label(p)}\n")


if __name__ == "__main__":
    main()
